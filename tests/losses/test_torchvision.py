"""Losses of detectors and rare classes against torchvision's: values and gradients."""

import functools
import types

import numpy as np
import pytest

from jaxdl import losses

RNG = np.random.default_rng(15)
B, N, K = 2, 12, 3


def boxes(*shape):
    corner, size = RNG.uniform(0, 4, (*shape, 2)), RNG.uniform(0.5, 3, (*shape, 2))
    return np.concatenate([corner, corner + size], axis=-1)


P, T = boxes(B, N), boxes(B, N)
LOGITS = 2 * RNG.normal(size=(B, N, K))
LABELS = np.zeros((B, N), np.int32)
LABELS[0, [1, 3]], LABELS[1, [2, 7, 11]] = [1, 2], [2, 2, 1]


@pytest.mark.parametrize("alpha", [None, 0.25])
def test_focal_loss_matches_torchvision(torchvision, equals_torch, alpha):
    library = functools.partial(torchvision.ops.sigmoid_focal_loss, alpha=-1 if alpha is None else alpha)
    for labels in (np.eye(K)[LABELS], RNG.uniform(0.05, 0.95, LOGITS.shape)):
        equals_torch(functools.partial(losses.focal_loss, alpha=alpha), library, LOGITS, labels, which=(0, 1))


def test_overlaps_match_torchvision(torchvision, equals_torch):
    ops = torchvision.ops
    apart = np.concatenate([P, P]), np.concatenate([T, T + 9])
    for loss, library in (
        (losses.giou_loss, functools.partial(ops.generalized_box_iou_loss, eps=0.0)),
        (losses.iou_loss, lambda p, t: 1 - ops.box_iou(p.reshape(-1, 4), t.reshape(-1, 4)).diag()),
    ):
        flat = [x.reshape(-1, 4) for x in apart]
        equals_torch(loss, library, *flat, which=(0, 1))


def offsets(torchvision, truth, anchors, weights):
    coder = torchvision.models.detection._utils.BoxCoder(weights)
    return coder, coder.encode_single(*(torch_of(x) for x in (truth, anchors))).numpy()


def torch_of(x):
    torch = pytest.importorskip("torch")
    return torch.tensor(np.float64(np.float32(x)) if x.dtype == np.float64 else np.int64(x))


@pytest.mark.parametrize("image", range(B))
def test_ssd_loss_matches_torchvision(torchvision, equals_torch, image):
    """Image by image: there a batch is divided by the matches of all its images; and with three others for each match:
    there matched boxes count twice where others are too few."""
    from torchvision.models.detection import ssd

    anchors, kinds = T[image], LABELS[image]
    matched = np.where(kinds > 0, np.arange(N), -1)
    coder, encoded = offsets(torchvision, P[image], anchors, (10.0, 10.0, 5.0, 5.0))
    model = types.SimpleNamespace(box_coder=coder, neg_to_pos_ratio=3)

    def library(logits, boxes, labels, _):
        parts = ssd.SSD.compute_loss(
            model,
            [{"boxes": torch_of(P[image]), "labels": labels[0]}],
            {"bbox_regression": boxes, "cls_logits": logits},
            [torch_of(anchors)],
            [torch_of(matched)],
        )
        return (parts["bbox_regression"] + parts["classification"])[None]

    arrays = LOGITS[image : image + 1], 3 * P[image : image + 1], LABELS[image : image + 1], encoded[None]
    equals_torch(losses.ssd_loss, library, *arrays, which=(0, 1))


def test_mask_loss_matches_torchvision(torchvision, equals_torch):
    """Three objects in one image of 12 by 12, each seen through a box that cuts it."""
    from torchvision.models.detection import roi_heads

    objects = np.float64(RNG.uniform(size=(3, 12, 12)) < 0.5)
    corners = np.array([[0.0, 1, 8, 9], [2, 0, 11, 12], [3, 3, 7, 9]])
    kinds, each = np.array([2, 0, 1], np.int32), np.arange(3)
    seen = roi_heads.project_masks_on_boxes(*map(torch_of, (objects, corners, each)), 4).numpy()
    assert ((seen > 0) & (seen < 1)).any()

    def library(logits, masks, labels):
        arguments = (torch_of(corners), torch_of(objects), labels, torch_of(each))
        return roi_heads.maskrcnn_loss(logits.movedim(-1, 1), *([x] for x in arguments))

    logits = RNG.normal(size=(3, 4, 4, K))
    equals_torch(lambda *x: losses.mask_loss(*x).mean(), library, logits, seen, kinds)


def test_detection_loss_matches_torchvision(torchvision, equals_torch):
    from torchvision.models.detection import roi_heads

    logits, boxes, kinds = LOGITS.reshape(-1, K), RNG.normal(size=(B * N, K, 4)), LABELS.ravel()

    def library(logits, boxes, labels, targets):
        return sum(roi_heads.fastrcnn_loss(logits, boxes.flatten(1), [labels], [targets]))

    def ours(logits, boxes, labels, targets):
        chosen = boxes[np.arange(B * N), kinds]
        return losses.detection_loss(logits, chosen, labels, targets, beta=1 / 9).mean()

    equals_torch(ours, library, logits, boxes, kinds, T.reshape(-1, 4) / 4, which=(0, 1))
