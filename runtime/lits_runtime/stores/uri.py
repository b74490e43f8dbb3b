"""Names of objects: s3://, gs:// and https://, and what of them may be shown."""

import posixpath
import re
from pathlib import Path
from typing import Any, TypeGuard

from lits_runtime.errors import OptionsError
from lits_runtime.messages import printable

READ = ("s3", "gs", "https", "http")
WRITTEN = ("s3", "gs")
_URI = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)


def is_uri(name: Any) -> TypeGuard[str]:
    """Whether a name is a URI rather than a path.

    >>> is_uri("s3://bucket/a.nii"), is_uri("scans/a.nii"), is_uri(r"C:/scans")
    (True, False, False)
    """
    return isinstance(name, str) and _URI.match(name) is not None


def checked_uri(uri: str, *, output: bool = False) -> str:
    """A URI of a store that we know, in which there is no password.

    Args:
        uri: of an object, or of a prefix.
        output: whether results shall go there.

    Raises:
        OptionsError: of another scheme, without a bucket or host, or with credentials.
    """
    scheme, _, rest = uri.partition("://")
    known = WRITTEN if output else READ
    if scheme.lower() not in known:
        names = ", ".join(f"{one}://" for one in known)
        raise OptionsError(f"{shown(uri)}: another kind of store; expected {names}")
    place = rest.partition("/")[0]
    if "@" in place:
        raise OptionsError(
            f"{shown(uri)}: a URI with a user or password; credentials come from the environment"
        )
    if not place:
        raise OptionsError(f"{shown(uri)}: a URI without a bucket or host")
    return f"{scheme.lower()}://{rest}"


def shown(uri: str) -> str:
    """A URI for messages and lists, without user, password, and query, which may be a signature.

    >>> shown("https://me:secret@host/a.nii?X-Amz-Signature=abc")
    'https://host/a.nii'
    """
    scheme, _, rest = uri.partition("://")
    if scheme.lower() in ("http", "https"):
        rest = re.split(r"[?#]", rest)[0]
    place, slash, path = rest.partition("/")
    return printable(f"{scheme}://{place.rpartition('@')[2]}{slash}{path}")


def name_of(uri: str) -> str:
    """The last part of a URI's path.

    >>> name_of("s3://bucket/a/b.nii.gz"), name_of("s3://bucket/series/"), name_of("s3://bucket")
    ('b.nii.gz', 'series', '')
    """
    rest = uri.partition("://")[2]
    if not uri.startswith(WRITTEN):
        rest = re.split(r"[?#]", rest)[0]
    return posixpath.basename(rest.partition("/")[2].rstrip("/"))


def below(uri: str, prefix: str) -> Path:
    """The path of an object relative to a prefix that it lies under.

    >>> below("s3://bucket/a/b.nii", "s3://bucket/a/")
    PosixPath('b.nii')
    """
    return Path(uri.removeprefix(prefix.rstrip("/") + "/"))


def joined(prefix: str, path: Path | str) -> str:
    """The URI of a path below a prefix.

    >>> joined("s3://bucket/out/", Path("deep/a.nii"))
    's3://bucket/out/deep/a.nii'
    """
    return f"{prefix.rstrip('/')}/{Path(path).as_posix()}"
