"""What the stack raises on purpose."""


class StackError(Exception):
    """The stack cannot do what was asked: the message says what, and where to look."""
