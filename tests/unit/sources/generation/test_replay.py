"""The played remote answers as it was told."""

import requests

from tests.unit.sources.generation.replay import DROP, Remote, Say


def test_recorded_pairs_come_in_their_order_and_the_last_one_stays():
    with Remote() as remote:
        remote.replay("seed", 17, 26)
        remote.on("GET", "/x", Say(200, 1), Say(200, 2))
        assert [requests.get(remote.url + "/x", timeout=5).json() for _ in range(3)] == [1, 2, 2]
        seen = requests.get(remote.url + "/api/v1/tasks/vid_52535c757134", timeout=5)
        assert seen.json()["status"] == "processing"
        assert remote.calls("GET")[-1] == "GET /api/v1/tasks/vid_52535c757134"


def test_faults_come_first_and_heal():
    with Remote(fallback=lambda seen: Say(200, seen.query)) as remote:
        remote.fault(DROP, lambda seen: seen.path == "/a")
        assert requests.get(remote.url + "/b?c=1", timeout=5).json() == {"c": "1"}
        try:
            requests.get(remote.url + "/a", timeout=5)
        except requests.ConnectionError:
            remote.heal()
        assert requests.get(remote.url + "/a", timeout=5).status_code == 200


def test_the_recorded_origin_can_be_moved():
    with Remote() as remote:
        remote.replay("seed", 26, origin="http://elsewhere.example")
        seen = requests.get(remote.url + "/api/v1/videos/vid_52535c757134", timeout=5).json()
    assert seen["video_url"].startswith("http://elsewhere.example/files/")
