"""Numbers for people."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime


def number(value: float) -> str:
    """A whole number, in groups of three digits."""
    return f"{value:,.0f}".replace(",", "\u202f")


def size(value: float) -> str:
    """Bytes in the unit that fits."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def rate(value: float) -> str:
    """Bytes per second as bits per second."""
    return f"{value * 8 / 1e6:.1f} Mbit/s"


def duration(value: float) -> str:
    """Seconds in days, hours, minutes or seconds."""
    seconds = int(value)
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


def counted(value: int, noun: str) -> str:
    """So many of what `noun` calls one."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number(value)} {noun if value == 1 else plural}"


def moment(value: float) -> str:
    """Seconds since the epoch as date and time in UTC."""
    return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S")


FORMATS: Mapping[str, Callable[..., str]] = {
    "number": number,
    "size": size,
    "rate": rate,
    "duration": duration,
    "counted": counted,
    "moment": moment,
}
