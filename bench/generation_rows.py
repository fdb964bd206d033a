"""Fills a migrated database: `python -m bench.generation_rows URL COUNT` adds a task API with open tasks of ours."""

import os
import sys


def main() -> None:
    url, count = sys.argv[1], int(sys.argv[2])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    import django

    django.setup()
    from django.utils.timezone import now

    from bench.task_api import Tasks
    from tasks_app.models import Generation, Source, Task
    from tasks_app.states import State

    at = now()
    source = Source.objects.create(name="bench", kind="task_api", urls=[url])
    tasks = Task.objects.bulk_create(
        Task(
            source=source,
            remote_id=remote_id,
            type="video",
            object_name=f"A red fox in the snow, take {number}",
            remote_user="bench",
            state=State.PENDING,
            started_at=at,
        )
        for number, remote_id in enumerate(Tasks(count).ids)
    )
    Generation.objects.bulk_create(
        Generation(
            task=task,
            kind="video",
            offer="video",
            prompt=task.object_name,
            actor_name="bench",
            handle={"id": task.remote_id},
            called_at=at,
            answered_at=at,
            ask_at=at,
        )
        for task in tasks
    )


if __name__ == "__main__":
    main()
