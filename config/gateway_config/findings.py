"""The base of all models: strict, frozen, and able to say all that is wrong between its keys at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A name that may stand in topics, paths and addresses: no spaces, no '*', '>', '/', '+', '#'."""

Octets = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not go together: the key (a path below the model), its value, what would be right.

    `because` names the optional keys of the same model that led to it: when one of those is wrong by
    itself, the finding would rest on a default and is not told.
    """

    path: tuple[str | int, ...]
    value: object
    remedy: str
    because: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.path))} = {self.value!r}: {self.remedy}"


class Model(BaseModel):
    """A part of the configuration. Unknown keys are refused and nothing is coerced (whole numbers pass as numbers)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong between keys that are each right by themselves."""
        yield from ()

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        found = tuple(self.findings())
        if found:
            # One error carries them all: pydantic lets a validator raise only one, and only at its own place.
            text = "; ".join(map(str, found))
            raise PydanticCustomError("findings", "{text}", {"text": text, "findings": found})
        return self
