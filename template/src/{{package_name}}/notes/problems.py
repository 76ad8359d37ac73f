"""What can go wrong with notes."""

from ..problems import AlreadyExists, NotFound


class NoteNotFound(NotFound):
    """No note has this id."""

    title = "There is no such note"


class NoteTitleTaken(AlreadyExists):
    """The title is taken."""

    title = "A note with this title already exists"
