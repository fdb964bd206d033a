"""Triggers that keep `Task.owner_team`: the team of the machine that its submission is for, or of its generation.

A column of the task, so that an index has the tasks of a team newest first; reached through the other tables they would
all be read and sorted for each page. Kept here and not by whoever writes, because many do and none may forget.
"""

TASK, SUBMISSION = "tasks_app_task", "tasks_app_submission"
MACHINE, GENERATION = "tasks_app_machine", "tasks_app_generation"

_OF_SUBMISSION = (
    f"(SELECT m.team_id FROM {SUBMISSION} s JOIN {MACHINE} m ON m.id = s.machine_id WHERE s.id = {{}})"
)

SQLITE_TRIGGERS = (
    f"""CREATE TRIGGER owner_team_insert AFTER INSERT ON {TASK} WHEN NEW.submission_id IS NOT NULL
        BEGIN UPDATE {TASK} SET owner_team_id = {_OF_SUBMISSION.format("NEW.submission_id")} WHERE id = NEW.id; END""",
    f"""CREATE TRIGGER owner_team_update AFTER UPDATE OF submission_id ON {TASK}
        WHEN OLD.submission_id IS NOT NEW.submission_id
        BEGIN UPDATE {TASK} SET owner_team_id = {_OF_SUBMISSION.format("NEW.submission_id")} WHERE id = NEW.id; END""",
    f"""CREATE TRIGGER owner_team_submission AFTER UPDATE OF machine_id ON {SUBMISSION}
        WHEN OLD.machine_id IS NOT NEW.machine_id
        BEGIN UPDATE {TASK} SET owner_team_id = (SELECT team_id FROM {MACHINE} WHERE id = NEW.machine_id)
        WHERE submission_id = NEW.id; END""",
    f"""CREATE TRIGGER owner_team_machine AFTER UPDATE OF team_id ON {MACHINE} WHEN OLD.team_id IS NOT NEW.team_id
        BEGIN UPDATE {TASK} SET owner_team_id = NEW.team_id
        WHERE submission_id IN (SELECT id FROM {SUBMISSION} WHERE machine_id = NEW.id); END""",
    f"""CREATE TRIGGER owner_team_generated AFTER INSERT ON {GENERATION} WHEN NEW.team_id IS NOT NULL
        BEGIN UPDATE {TASK} SET owner_team_id = NEW.team_id WHERE id = NEW.task_id; END""",
    f"""CREATE TRIGGER owner_team_generation AFTER UPDATE OF team_id ON {GENERATION}
        WHEN OLD.team_id IS NOT NEW.team_id
        BEGIN UPDATE {TASK} SET owner_team_id = NEW.team_id WHERE id = NEW.task_id; END""",
)

PG_TRIGGERS = (
    f"""CREATE OR REPLACE FUNCTION task_owner_team() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' AND NEW.submission_id IS NULL THEN RETURN NEW; END IF;
        IF TG_OP = 'UPDATE' AND NEW.submission_id IS NOT DISTINCT FROM OLD.submission_id THEN RETURN NEW; END IF;
        NEW.owner_team_id := {_OF_SUBMISSION.format("NEW.submission_id")};
        RETURN NEW;
    END $$""",
    f"""CREATE OR REPLACE FUNCTION submission_owner_team() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE {TASK} SET owner_team_id = (SELECT team_id FROM {MACHINE} WHERE id = NEW.machine_id)
        WHERE submission_id = NEW.id;
        RETURN NULL;
    END $$""",
    f"""CREATE OR REPLACE FUNCTION machine_owner_team() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE {TASK} SET owner_team_id = NEW.team_id
        WHERE submission_id IN (SELECT id FROM {SUBMISSION} WHERE machine_id = NEW.id);
        RETURN NULL;
    END $$""",
    f"""CREATE OR REPLACE FUNCTION generation_owner_team() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE {TASK} SET owner_team_id = NEW.team_id
        WHERE id = NEW.task_id AND owner_team_id IS DISTINCT FROM NEW.team_id;
        RETURN NULL;
    END $$""",
    f"DROP TRIGGER IF EXISTS owner_team ON {TASK}",
    f"""CREATE TRIGGER owner_team BEFORE INSERT OR UPDATE OF submission_id ON {TASK}
    FOR EACH ROW EXECUTE FUNCTION task_owner_team()""",
    f"DROP TRIGGER IF EXISTS owner_team ON {SUBMISSION}",
    f"""CREATE TRIGGER owner_team AFTER UPDATE OF machine_id ON {SUBMISSION} FOR EACH ROW
    WHEN (OLD.machine_id IS DISTINCT FROM NEW.machine_id) EXECUTE FUNCTION submission_owner_team()""",
    f"DROP TRIGGER IF EXISTS owner_team ON {MACHINE}",
    f"""CREATE TRIGGER owner_team AFTER UPDATE OF team_id ON {MACHINE} FOR EACH ROW
    WHEN (OLD.team_id IS DISTINCT FROM NEW.team_id) EXECUTE FUNCTION machine_owner_team()""",
    f"DROP TRIGGER IF EXISTS owner_team ON {GENERATION}",
    f"""CREATE TRIGGER owner_team AFTER INSERT OR UPDATE OF team_id ON {GENERATION}
    FOR EACH ROW EXECUTE FUNCTION generation_owner_team()""",
)
