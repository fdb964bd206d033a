"""Results and uploads in a private bucket: read by the portal alone, piece by piece, never whole in memory."""

from collections.abc import Iterator
from typing import Any

from boto3.s3.transfer import TransferConfig  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from storages.backends.s3 import S3Storage  # type: ignore[import-untyped]

from portal.media import CONNECT_SECONDS, READ_SECONDS

PART_BYTES = 8 * 1024 * 1024
PIECE_BYTES = 256 * 1024


class PrivateBucket(S3Storage):  # type: ignore[misc]
    """A bucket without public addresses. Two parts of 8 MiB at once go up; boto's own ten would take 80 MiB."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            client_config=Config(
                s3={"addressing_style": options.get("addressing_style")},
                signature_version=options.get("signature_version"),
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"mode": "standard", "max_attempts": 3},
            ),
            transfer_config=TransferConfig(
                multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=2
            ),
            **options,
        )

    def read_range(self, name: str, first: int, last: int) -> Iterator[bytes]:
        """The bytes from `first` to `last`, both included. Raises botocore's errors."""
        key = self._normalize_name(name)
        body = self.bucket.Object(key).get(Range=f"bytes={first}-{last}")["Body"]
        try:
            yield from body.iter_chunks(PIECE_BYTES)
        finally:
            body.close()
