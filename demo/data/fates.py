"""How often each kind of work goes well, and in which ways it goes wrong: about 94 of 100 end OK."""

import random
from dataclasses import dataclass

from demo.data import backups, copying, power, upkeep
from demo.data.work import Writer


@dataclass(frozen=True, slots=True)
class Routine:
    """A kind of work: its worker type, and what may become of it with its weight. The first is that all goes well."""

    type: str
    fates: tuple[tuple[float, Writer], ...]

    def draw(self, rng: random.Random) -> Writer:
        return rng.choices([writer for _, writer in self.fates], [weight for weight, _ in self.fates])[0]


# By the machine that builds software.
CI_CLONE = Routine(
    "qmclone",
    (
        (95.2, copying.linked_clone),
        (2.6, power.lock_timeout),
        (0.4, copying.clone_busy_volume),
        (1.5, power.interrupted),
        (0.1, power.unknown_end),
    ),
)
CI_START = Routine(
    "qmstart",
    (
        (77.5, power.start_cloudinit),
        (20, power.start_without_efidisk),
        (0.9, power.start_without_memory),
        (0.6, power.start_timeout),
        (0.5, power.interrupted),
    ),
)
CONFIGURE = Routine("qmconfig", ((99.5, power.configure), (0.5, power.lock_timeout)))
STOP = Routine("qmstop", ((99.4, power.quiet), (0.6, power.lock_timeout)))
DESTROY = Routine(
    "qmdestroy", ((93.5, power.destroy), (5.6, power.destroy_disk_left), (0.9, power.destroy_running))
)
# Of people and of the portal.
ORDER_CLONE = Routine(
    "qmclone", ((95, copying.full_clone), (2, power.lock_timeout), (2, copying.clone_stopped))
)
CLONE_TO_NAS = Routine(
    "qmclone", ((93, copying.full_clone), (3, power.lock_timeout), (3, copying.clone_stopped))
)
GROW = Routine("resize", ((97, power.grow_disk), (3, power.shrink_disk)))
START = Routine(
    "qmstart",
    (
        (92.5, power.quiet),
        (2, power.start_without_efidisk),
        (2.4, power.start_without_feature),
        (1.6, power.start_without_memory),
        (0.5, power.unknown_end),
    ),
)
SHUTDOWN = Routine(
    "qmshutdown", ((93.5, power.shutdown), (5, power.shutdown_timeout), (1.5, power.interrupted))
)
REBOOT = Routine(
    "qmreboot", ((94, power.shutdown), (4, power.shutdown_timeout), (2, power.start_without_efidisk))
)
CONTAINER_START = Routine("vzstart", ((94, power.quiet), (6, power.container_start_failed)))
CONTAINER_SHUTDOWN = Routine("vzshutdown", ((99, power.shutdown), (1, power.locked_by_backup)))
CONSOLE = Routine(
    "vncproxy",
    ((91.9, power.console), (6.5, power.console_unused), (1.2, power.interrupted), (0.4, power.unknown_end)),
)
SHELL = Routine("vncshell", ((98, power.console), (2, power.console_unused)))
SNAPSHOT = Routine(
    "qmsnapshot",
    ((88, power.snapshot), (9, power.snapshot_with_ram), (2, power.snapshot_taken), (1, power.lock_timeout)),
)
CONTAINER_SNAPSHOT = Routine("vzsnapshot", ((98, power.quiet), (2, power.locked_by_backup)))
ROLL_BACK = Routine("qmrollback", ((97, power.roll_back), (3, power.lock_timeout)))
# By the clock.
AUTO_SNAPSHOT = Routine("qmsnapshot", ((99.6, power.snapshot), (0.4, power.lock_timeout)))
REMOVE_SNAPSHOT = Routine("qmdelsnapshot", ((99.5, power.remove_snapshot), (0.5, power.lock_timeout)))
BACKUP = Routine(
    "vzdump",
    (
        (86, backups.backup),
        (6, backups.backup_warning),
        (2.2, backups.backup_locked),
        (1.8, backups.backup_timeout),
        (0.6, backups.backup_no_space),
        (0.5, backups.backup_io_error),
        (1.2, backups.backup_interrupted),
    ),
)
PRUNE = Routine("prunebackups", ((100, backups.prune),))
UPDATE = Routine("aptupdate", ((97, upkeep.update_packages), (3, upkeep.update_no_network)))
# Now and then.
MIGRATE = Routine(
    "qmigrate",
    (
        (89.5, copying.live_migration),
        (4, copying.migration_without_storage),
        (1.5, copying.migration_host_key),
        (5, copying.migration_stopped),
    ),
)
MIGRATE_BACK = Routine("qmigrate", ((1, copying.live_migration),))
MIGRATE_CONTAINER = Routine("vzmigrate", ((1, copying.offline_migration),))
MOVE_DISK = Routine("qmmove", ((92, copying.move_disk), (8, copying.move_disk_stopped)))
RESTORE = Routine("qmrestore", ((90, copying.restore), (10, copying.restore_checksum)))
DOWNLOAD = Routine("download", ((85, copying.download), (15, copying.download_stopped)))
CREATE_CONTAINER = Routine("vzcreate", ((92, copying.create_container), (8, copying.create_without_template)))
DESTROY_CONTAINER = Routine("vzdestroy", ((1, power.quiet),))
ERASE = Routine("imgdel", ((1, upkeep.erase),))
SERVICE = Routine("srvrestart", ((1, upkeep.restart_service),))
BULK_START = Routine("startall", ((1, power.bulk_start),))
