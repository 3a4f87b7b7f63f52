"""The judge of boxes that no one here wrote."""

import contextlib
import io

import numpy as np
import pytest

EVERYWHERE = (0, 1e10)


@pytest.fixture(scope="session")
def coco():
    """`coco(predictions, targets, num_classes, limit, area_range) -> precision [T, 101, K], recall [T, K]` by
    pycocotools, each -1 for a class without boxes that count; targets as `mean_average_precision` takes them."""
    coco_module = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")

    def entries(boxes, classes, **more):
        for i, j in np.argwhere(classes >= 0):
            x1, y1, x2, y2 = boxes[i, j].astype(float)
            box = [x1, y1, x2 - x1, y2 - y1]
            entry = {
                "image_id": int(i),
                "category_id": int(classes[i, j]),
                "bbox": box,
                "area": box[2] * box[3],
            }
            yield entry | {name: values[i, j].item() for name, values in more.items()}

    def judged(predictions, targets, num_classes, limit=100, area_range=EVERYWHERE):
        (boxes, scores, classes), (true_boxes, true_classes, *more) = predictions, targets
        crowd = more[0].astype(int) if more else np.zeros(true_classes.shape, int)
        given = {"iscrowd": crowd} | ({"area": more[1].astype(float)} if len(more) > 1 else {})
        truth = coco_module.COCO()
        truth.dataset = {
            "images": [{"id": i} for i in range(len(boxes))],
            "annotations": [
                e | {"id": n + 1} for n, e in enumerate(entries(true_boxes, true_classes, **given))
            ],
            "categories": [{"id": k} for k in range(num_classes)],
        }
        with contextlib.redirect_stdout(io.StringIO()):
            truth.createIndex()
            found = coco_module.COCO()  # not loadRes, which takes no empty list
            found.dataset = truth.dataset | {
                "annotations": [
                    e | {"id": n + 1, "iscrowd": 0}
                    for n, e in enumerate(entries(boxes, classes, score=scores.astype(float)))
                ]
            }
            found.createIndex()
            judge = evaluation.COCOeval(truth, found, "bbox")
            # Correctly rounded hundredths: 7 of 20 must reach a recall of 0.35, and an overlap of 3 of 5 one of 0.6.
            judge.params.recThrs = np.arange(101) / 100
            judge.params.iouThrs = np.arange(50, 100, 5) / 100
            judge.params.areaRng, judge.params.areaRngLbl = [list(area_range)], ["asked for"]
            judge.params.maxDets = [limit]
            judge.evaluate()
            judge.accumulate()
        return judge.eval["precision"][..., 0, 0], judge.eval["recall"][..., 0, 0]

    return judged
