"""Reading and cancelling tasks: the endpoints of the task API's guide, for all tasks of the portal."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from ninja import Query, Router

from tasks_app.api.auth import ApiRequest
from tasks_app.api.errors import expired, no_task
from tasks_app.api.paging import next_link, read_page
from tasks_app.api.schemas import Cancelled, ErrorBody, ListQuery, TaskObject, TaskRow
from tasks_app.errors import TaskAlreadyFinished
from tasks_app.live.objects import Ref, Snapshot, find_ref, read_snapshots
from tasks_app.live.shapes import list_row
from tasks_app.models import Task
from tasks_app.services.cancellation import cancel_task
from tasks_app.services.order_deeds import cancel_order
from tasks_app.services.submission_withdrawal import withdraw_submission
from tasks_app.states import State

router = Router(tags=["Tasks"])


@router.get(
    "/tasks",
    response={200: list[TaskRow], 401: ErrorBody, 422: ErrorBody},
    operation_id="list_tasks",
    summary="List tasks",
    description="What you may see, newest first, as a bare array. While there is more, the `Link` header holds the "
    'address of the next page with `rel="next"`.',
)
def list_tasks(request: ApiRequest, query: Query[ListQuery]) -> HttpResponse:
    page = read_page(request.user, query)
    answer = JsonResponse([list_row(task) for task in page.tasks], safe=False)
    if page.cursor:
        answer["Link"] = next_link(request, page.cursor)
    return answer


router.get("/tasks/", include_in_schema=False)(list_tasks)


@router.get(
    "/tasks/{path:task_id}",
    response={200: TaskObject, 401: ErrorBody, 404: ErrorBody},
    operation_id="get_task",
    summary="Status of a task",
    description="Ask again until `status` is completed, failed or cancelled. A UPID is taken as id, too.",
)
def get_task(request: ApiRequest, task_id: str) -> HttpResponse:
    _, snapshot = find(request, task_id)
    return JsonResponse(snapshot.tell(base_url(request)))


@router.delete(
    "/tasks/{path:task_id}",
    response={200: Cancelled, 401: ErrorBody, 403: ErrorBody, 404: ErrorBody, 409: ErrorBody},
    operation_id="cancel_task",
    summary="Cancel a task",
    description="Cancelling is a wish: the message says whether it has been cancelled, or whether this has been "
    "requested and the status will tell. A task that has ended is answered with 409, and nothing changes.",
)
def delete_task(request: ApiRequest, task_id: str) -> HttpResponse:
    ref, snapshot = find(request, task_id)
    shown_id = str(snapshot.tell("")["task_id"])
    _cancel(snapshot, request, shown_id)
    after = read_snapshots([ref])[ref].tell("")
    if after["status"] == State.CANCELLED:
        message = f"Task {shown_id} has been cancelled"
    else:
        message = f"Cancellation of task {shown_id} has been requested"
    return JsonResponse({"success": True, "message": message, "task_id": shown_id})


def find(request: ApiRequest, task_id: str) -> tuple[Ref, Snapshot]:
    """What the id names. Raises ApiError (404) for what is unknown, invisible or expired."""
    task_id = task_id.rstrip("/")
    ref = find_ref(task_id, request.user)
    snapshot = read_snapshots([ref]).get(ref) if ref is not None else None
    if ref is None or snapshot is None:
        raise no_task(task_id)
    if snapshot.is_expired:
        raise expired(task_id)
    return ref, snapshot


def base_url(request: HttpRequest) -> str:
    """Scheme and host as the client used them, without a slash at the end."""
    return f"{request.scheme}://{request.get_host()}"


def _cancel(snapshot: Snapshot, request: ApiRequest, shown_id: str) -> None:
    """Through the service of what it is. Raises Refused."""
    if snapshot.order is not None:
        if snapshot.is_settled:
            raise TaskAlreadyFinished(f"{shown_id} has already ended.")
        cancel_order(snapshot.order, actor=request.user)
    elif snapshot.task is not None and not (snapshot.submission and snapshot.task.is_final):
        cancel_task(_whole(snapshot.task), actor=request.user)
    elif snapshot.submission is not None:
        withdraw_submission(snapshot.submission, actor=request.user)


def _whole(task: Task) -> Task:
    """The row with all its columns, as services expect it."""
    return Task.objects.select_related("source", "submission__machine").get(pk=task.pk)
