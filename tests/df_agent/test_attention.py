import pytest
import torch
import torch.nn.functional as F

from df_agent.models.layers import attend

SHAPE = (2, 3, 5, 8)


def parts(dtype: torch.dtype, grad: bool) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, generator=generator).to(dtype).requires_grad_(grad) for _ in range(3)]


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("sees", ["all", "mask", "causal"])
def test_it_is_scaled_dot_product_attention_and_so_are_its_gradients(sees, dtype, near, grad):
    mask = torch.tensor([[1, 0, 0, 1, 0]] * 5).bool() if sees == "mask" else None
    options = {"attn_mask": mask, "is_causal": sees == "causal"}
    given, exact = parts(dtype, grad), [part.detach().float().requires_grad_() for part in parts(dtype, grad)]
    out, expected = attend(*given, mask, causal=sees == "causal"), F.scaled_dot_product_attention(*exact, **options)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), expected, atol=near, rtol=near)
    if grad:
        weights = torch.linspace(-1, 1, out.numel()).reshape(out.shape)
        (out.float() * weights).sum().backward()
        (expected * weights).sum().backward()
        for ours, theirs in zip(given, exact, strict=True):
            torch.testing.assert_close(ours.grad.float(), theirs.grad, atol=2 * near, rtol=2 * near)
