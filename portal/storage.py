"""Where collected static files lie: named by their content, also where one script of ours imports another."""

from whitenoise.storage import CompressedManifestStaticFilesStorage  # type: ignore[import-untyped]

_IMPORT = (r"""(?P<matched>from "(?P<url>\./[^"]+)";)""", """from "%(url)s";""")


class StaticFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    """Without the imports a browser would mix the modules of two versions.

    Django's own switch reads all scripts, and stumbles over those of a package that is not served as modules.
    """

    patterns = (*CompressedManifestStaticFilesStorage.patterns, ("js/*.js", (_IMPORT,)))
