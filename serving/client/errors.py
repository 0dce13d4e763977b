"""What keeps a client from an answer, told to the person who asked."""


class ClientError(RuntimeError):
    """A model cannot be asked: it is not there, not reachable or does not work; the message says what to do."""


class RejectedInputError(ClientError):
    """The model refuses what it was sent; of several inputs it may be a single one that is wrong."""


class ImageError(Exception):
    """A file that is no image which can be sent; the message names it, and says what was expected."""
