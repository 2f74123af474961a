"""An environment held to gymnasium's contract: whatever breaks it ends in one line that names the step."""

from __future__ import annotations

from typing import Any

import numpy as np

from counterpoint.errors import CounterpointError

STEP = "(observation, reward, terminated, truncated, info)"
RESET = "(observation, info)"


class Checked:
    """A gymnasium environment whose ``reset`` and ``step`` raise ``CounterpointError`` where they go wrong."""

    def __init__(self, env: Any, name: str) -> None:
        self.env, self.name, self.steps = env, name, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def reset(self, **options: Any) -> tuple[Any, Any]:
        """Begin an episode: an observation and a dictionary."""
        self.steps = 0
        result = self._call("reset", RESET, **options)
        if not isinstance(result, tuple) or len(result) != 2:
            raise self._error(f"reset returns {_parts(result)}; expected two parts {RESET}")
        self._check(result[0])
        return result

    def step(self, action: int) -> tuple[Any, float, bool, bool, Any]:
        """Act once: observation, reward, whether the episode ended, whether it was cut, and a dictionary."""
        self.steps += 1
        result = self._call("step", STEP, action)
        if not isinstance(result, tuple) or len(result) != 5:
            raise self._error(f"step returns {_parts(result)}; expected five parts {STEP}")
        observation, reward, ended, cut, info = result
        self._check(observation)
        try:
            gain = float("nan") if isinstance(reward, str) else float(reward)
        except (TypeError, ValueError):
            gain = float("nan")
        if not np.isfinite(gain):
            raise self._error(f"the reward is {reward!r}; expected a finite number")
        for name, flag in (
            ("third part, whether the episode ended,", ended),
            ("fourth part, whether it was cut,", cut),
        ):
            if not isinstance(flag, bool | np.bool_ | int | np.integer):
                raise self._error(f"the {name} is {flag!r}; expected true or false")
        return observation, gain, bool(ended), bool(cut), info

    def close(self) -> None:
        """Give back what the environment holds."""
        self._call("close", "nothing")

    def _call(self, method: str, parts: str, *given: Any, **options: Any) -> Any:
        try:
            return getattr(self.env, method)(*given, **options)
        except (Exception, SystemExit) as error:  # whatever an environment of a person's own does
            message = " ".join(str(error).split())[:300]
            hint = (
                f"; expected {method} to return {parts}"
                if "unpack" in message or "expects" in message
                else ""
            )
            raise self._error(f"{method} fails with {type(error).__name__}: {message}{hint}") from error

    def _check(self, observation: Any) -> None:
        space = self.env.observation_space
        shape = getattr(space, "shape", None)
        try:
            values = np.asarray(observation, dtype=np.float64)
        except (TypeError, ValueError):
            raise self._error(
                f"the observation is a {type(observation).__name__}; expected numbers, as in {space}"
            ) from None
        if shape is not None and values.size != int(np.prod(shape)):
            raise self._error(f"the observation has shape {list(values.shape)}; expected {list(shape)}")
        for value, (count, start) in zip(values.ravel(), counted(space)):
            if value not in range(start, start + count):  # NaN and 1.5 are in none
                raise self._error(
                    f"the observation is {observation!r}; expected a whole number from {start} to {start + count - 1}"
                    + (" in each place, as in " + str(space) if values.size > 1 else "")
                )
        if not np.isfinite(values).all():
            bad = values.ravel()[~np.isfinite(values.ravel())][0]
            raise self._error(
                f"the observation holds {'NaN' if np.isnan(bad) else bad}; expected finite numbers: mend the environment, or wrap it in "
                "gymnasium.wrappers.TransformObservation with numpy.nan_to_num"
            )

        if np.abs(values).max(initial=0) > np.finfo(np.float32).max:
            raise self._error("the observation holds a number too large for float32; scale it")

    def _error(self, what: str) -> CounterpointError:
        moment = f"step {self.steps}" if self.steps else "reset"
        return CounterpointError(f"environment '{self.name}', {moment}: {what}")


def counted(space: Any) -> list[tuple[int, int]]:
    """How many values each place of an observation has, and the first of them; nothing where observations are numbers."""
    if hasattr(space, "n"):
        return [(int(space.n), int(getattr(space, "start", 0)))] if np.ndim(space.n) == 0 else []
    if hasattr(space, "nvec"):
        sizes = np.ravel(space.nvec).tolist()
        starts = np.ravel(getattr(space, "start", np.zeros_like(space.nvec))).tolist()
        return list(zip(sizes, starts, strict=True))
    parts = getattr(space, "spaces", ())
    if isinstance(parts, tuple | list) and all(np.ndim(getattr(part, "n", ())) == 0 for part in parts):
        return [(int(part.n), int(part.start)) for part in parts if hasattr(part, "start")]
    return []


def _parts(result: Any) -> str:
    return f"{len(result)} parts" if isinstance(result, tuple | list) else f"a {type(result).__name__}"
