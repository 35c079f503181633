import numpy as np
import torch

from emofuse.models import build, make_config, n_parameters
from emofuse.models.tensor_fusion import outer_product


def test_outer_product_of_two_by_hand():
    product = outer_product([torch.tensor([2.0, 3.0]), torch.tensor([5.0])])
    # rows 2, 3, 1; columns 5, 1
    assert product.tolist() == [10, 2, 15, 3, 5, 1]


def test_outer_product_of_three_is_the_einsum():
    rng = np.random.default_rng(0)
    z = [rng.normal(size=(2, 4, d)).astype(np.float32) for d in (3, 2, 5)]
    ones = [np.concatenate([x, np.ones((2, 4, 1), np.float32)], axis=-1) for x in z]
    expected = np.einsum("bti,btj,btk->btijk", *ones).reshape(2, 4, -1)
    np.testing.assert_allclose(outer_product([torch.from_numpy(x) for x in z]), expected, rtol=1e-6)


def test_the_papers_sizes():
    # 100 -> 128 -> 128, 512 -> 32 -> 32 -> 32, 100 -> 32 -> 32 -> 32; 129 x 33 x 33 -> 128 -> 128 -> 4
    networks = (100 * 128 + 128 + 128 * 128 + 128) + (512 * 32 + 100 * 32 + 2 * 32 + 4 * (32 * 32 + 32))
    inference = 129 * 33 * 33 * 128 + 128 + 128 * 128 + 128 + 128 * 4 + 4
    assert n_parameters(build("tensor-fusion", make_config("tensor-fusion"))) == networks + inference


def test_without_a_modality_the_product_of_the_others_is_left():
    torch.manual_seed(0)
    dims = {"speech": 3, "text": 2}
    model = build("tensor-fusion", make_config("tensor-fusion", feature_dims=dims, n_text=2, n_other=3)).eval()
    seen = []
    model.inference.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    batch = {m: torch.randn(1, 1, d) for m, d in dims.items()}
    model(torch.tensor([1]), torch.tensor([[[False, True]]]), **batch)
    z = model.networks["text"](batch["text"])[0, 0].tolist()
    # speech is (0, 0, 0, 1): of its four rows only the last, which holds the text alone, is left
    torch.testing.assert_close(seen[0][0, 0], torch.tensor([0.0] * 9 + [*z, 1.0]))
