import pytest
import torch

from genart.nn.latent_directions import principal, sefa


def test_sefa_finds_what_a_layer_answers_to_most():
    basis = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0)))[0]
    weight = torch.diag(torch.tensor([3.0, 9.0, 1.0, 5.0, 2.0])) @ basis.T  # answers to column k of the basis by that much
    found = sefa(weight)
    for row, k in zip(found, (1, 3, 0, 4, 2), strict=True):
        assert abs(float(row @ basis[:, k])) == pytest.approx(1, abs=1e-5)
    assert torch.allclose(found @ found.T, torch.eye(5), atol=1e-5)
    assert torch.equal(found, sefa(-weight))
    assert all(float(row[row.abs().argmax()]) > 0 for row in found)


def test_principal_components_are_those_of_the_singular_values():
    points = torch.randn(500, 4, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 4.0, 0.5, 2.0]) + 7
    found = principal(points)
    expected = torch.linalg.svdvals(points - points.mean(0)) / 499**0.5
    assert torch.allclose(found.spread, expected, atol=1e-4)
    assert found.vectors.abs().argmax(1).tolist() == [1, 3, 0, 2]
