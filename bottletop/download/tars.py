"""Streams tars of which every block is accounted for.

Python's tarfile takes any damaged header for the end of the archive, so whatever follows would be lost in silence.
Here nothing is the end but an end mark (two blocks of zeros) with only zeros, or another tar, after it.
"""

import io
from typing import Self

from backports.zstd import tarfile  # Python 3.14's: older ones take minutes for some bad headers
from backports.zstd.tarfile import EmptyHeaderError, EOFHeaderError  # type: ignore[attr-defined]

from bottletop.download.compression import BUFFER_BYTES

MAX_HEADER_BYTES = 1 << 20  # of a member's long name and attributes
MAX_GLOBAL_ATTRIBUTES = 100  # which tarfile copies for every member
_LONG_HEADERS = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}


def stream(file: io.RawIOBase) -> tarfile.TarFile:
    """Returns the tar in `file`, or the tars one after the other, to iterate over once.

    Names hold bytes that are not UTF-8 as surrogates. Iterating raises a ``tarfile.TarError`` if the tar is damaged or
    has no end mark.
    """
    return _Tar.open(  # type: ignore[call-overload,no-any-return]  # the types lack `stream`
        fileobj=file,
        mode="r|",
        bufsize=BUFFER_BYTES,
        stream=True,  # keeps no list of the members
        ignore_zeros=True,  # goes on to the end of the file
        encoding="utf-8",
        errors="surrogateescape",
    )


class _Header(tarfile.TarInfo):
    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Reads the next header.

        Raises:
            EOFHeaderError: a block of zeros.
            EmptyHeaderError: the end of the file, after an end mark.
            ReadError: anything else.
        """
        assert isinstance(archive, _Tar)  # noqa: S101 (for mypy)
        place = f"at byte {archive.offset:,}"
        try:
            header = super().fromtarfile(archive)
        except EOFHeaderError:
            archive.zero_blocks += 1
            if archive.zero_blocks == 2:
                archive.pax_headers = {}  # another tar may follow, with attributes of its own
            raise
        except EmptyHeaderError:
            if archive.zero_blocks < 2:
                raise tarfile.ReadError(f"it stops {place} without the two blocks of zeros that end a tar") from None
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} {place}") from error
        if archive.zero_blocks == 1:
            raise tarfile.ReadError(f"a lone block of zeros {place}")
        if len(archive.pax_headers) > MAX_GLOBAL_ATTRIBUTES:
            raise tarfile.ReadError(f"more than {MAX_GLOBAL_ATTRIBUTES} global attributes {place}")
        archive.zero_blocks = 0
        return header

    def _proc_member(self, archive: tarfile.TarFile) -> Self:  # which tarfile offers to subclasses
        if self.type in _LONG_HEADERS and self.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes at byte {archive.offset:,}")
        return super()._proc_member(archive)  # type: ignore[misc,no-any-return]


class _Tar(tarfile.TarFile):
    tarinfo = _Header
    zero_blocks = 0  # just before the next header
