from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def one_core() -> Iterator[None]:
    """Recipes compute on one core: there is a process of tests on each, and what is so small is not
    done sooner by two.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
