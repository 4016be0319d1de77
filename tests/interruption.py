"""Leaving a training as a user or a crash does, to go on with it."""


class Left(Exception):
    """The training was left."""


def leave_after(number):
    """For the ``step`` of a progress: leaves once step ``number`` has been made."""

    def leave(step, *_):
        if step.number == number:
            raise Left

    return leave
