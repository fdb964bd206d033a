"""What keeps the workers honest: slots of the watch loop."""

from django.db import models


class WatchSlot(models.Model):
    """A slot in which one copy of the watch loop may run. A redelivered copy finds it taken and exits."""

    slot = models.PositiveSmallIntegerField(unique=True)
    owner = models.CharField(max_length=60, blank=True)
    until = models.DateTimeField(null=True)
    generation = models.PositiveIntegerField(default=0)  # counts the loops that ran here

    def __str__(self) -> str:
        return f"slot {self.slot}"
