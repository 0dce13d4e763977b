"""Requests of all kinds, made once before anything is timed."""

from collections.abc import Mapping

import numpy as np

from benchmarks.serving.images import Case, batch_positions, make_images
from benchmarks.serving.messages import Api, Expected, Request, encode


def make_requests(api: Api, case: Case, expected: Expected) -> list[Request]:
    """Makes requests that send all images.

    Args:
        api: How they are to be sent.
        case: Their signature and number of images.
        expected: What the original model answers to the images of `make_images`.
    """
    images = make_images(case.signature)
    batches = batch_positions(case.batch_size, np.arange(len(images)))
    return [encode(api, case.signature, images[batch], expected.take(batch)) for batch in batches]


def make_mixed_requests(api: Api, batch_size: int, expected: Mapping[str, Expected]) -> list[Request]:
    """Makes requests to all signatures in turn.

    Args:
        api: How they are to be sent.
        batch_size: Images in each.
        expected: What the original model answers, by signature.
    """
    of_signatures = [make_requests(api, Case(name, batch_size), expected[name]) for name in expected]
    return [request for in_turn in zip(*of_signatures, strict=True) for request in in_turn]
