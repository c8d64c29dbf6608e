import cv2
import numpy as np
import pytest

from ssv.evaluations.contact_sheet import GAP, QUERY, RIGHT, SIDE, WRONG
from ssv.evaluations.features import extract, over_views
from ssv.evaluations.knn import KNN
from ssv.evaluations.labelled import labelled_splits
from ssv.evaluations.metrics.classification import classification_scores
from ssv.evaluations.retrieval import Retrieval
from tests.evaluations.fakes import FakeData, Levels, Tiny, centre, trainer, videos, views


def knn(**values):
    return KNN(**{"sampler": views(), "crop": centre(), "batch_size": 6, "k": 5, **values})


def retrieval(**values):
    return Retrieval(**{"sampler": views(3), "crop": centre(), "batch_size": 6, **values})


def features(backbone, data, count):
    return extract(backbone, data, labelled_splits(data), views(count), centre(), batch_size=6, trainer=trainer())


def cosines(query, gallery):
    query, gallery = (x.astype(np.float64) for x in (query, gallery))
    return np.array([[q @ g / np.sqrt((q @ q) * (g @ g)) for g in gallery] for q in query])


def distinct(train=None, test=None):
    """Data without two equal videos, whose order nothing tells; with these labels."""
    return FakeData(videos("train", groups=6, clips=1, labels=train), videos("test", groups=6, clips=1, labels=test))


@pytest.mark.parametrize(("k", "temperature"), [(3, 5.0), (7, 1e-3), (13, 0.02)])
def test_the_neighbours_of_a_video_vote_by_their_labels(k, temperature, monkeypatch):
    seen, backbone = [], Tiny()
    monkeypatch.setattr(
        "ssv.evaluations.knn.classification_scores", lambda *a: seen.append(a[0]) or classification_scores(*a)
    )
    train, test = [10 * (i % 4) for i in range(24)], [10 * (i // 6) for i in range(24)]  # labels need not be 0, 1, 2
    data = distinct(train, test)
    evaluation = knn(k=k, temperature=temperature)
    scores = evaluation.run(backbone, data, trainer())
    found = features(backbone, data, 2)
    right = 0
    for i, row in enumerate(cosines(over_views(found.test), over_views(found.train))):
        votes = dict.fromkeys((0, 10, 20, 30), 0.0)
        for j in np.argsort(-row)[:k]:
            votes[train[j]] += np.exp((row[j] - row.max()) / temperature)
        np.testing.assert_allclose(seen[0][i], list(votes.values()), rtol=1e-6, atol=1e-12)
        assert evaluation.artifacts["per_video"]["prediction"][i] == max(votes, key=votes.get)
        right += max(votes, key=votes.get) == test[i]
    assert scores["top1"] == right / 24 and scores["chance"] == 0.25


def test_more_neighbours_than_training_videos_name_the_key():
    with pytest.raises(ValueError, match=r"evaluation.k=25 needs as many training videos, there are 24"):
        knn(k=25).run(Tiny(), FakeData(), trainer())


@pytest.mark.parametrize("level", ["video", "clip"])
@pytest.mark.parametrize("centring", ["none", "separate", "train"])
def test_recall_of_every_level_and_centring_against_a_loop(level, centring):
    data, backbone = distinct(), Tiny()
    evaluation = retrieval(level=level, centre=centring, topk=(5, 1, 3))
    scores = evaluation.run(backbone, data, trainer())
    found = features(backbone, data, 3)
    train, test = (x.astype(np.float64) for x in found)
    if level == "video":
        train, test = (over_views(x)[:, None].astype(np.float64) for x in found)
    count = train.shape[1]
    train, test = train.reshape(-1, 8), test.reshape(-1, 8)
    own, theirs = test.mean(0), train.mean(0)
    if centring != "none":
        train, test = train - theirs, test - (own if centring == "separate" else theirs)
    hits = {1: 0, 3: 0, 5: 0}
    for i, row in enumerate(cosines(test, train)):
        order = np.argsort(-row)
        assert evaluation.artifacts["neighbours"]["row"][i].tolist() == order[:5].tolist()
        for k in hits:
            near = [data.lists["train"][j // count].label for j in order[:k]]
            hits[k] += data.lists["test"][i // count].label in near
    assert {k: scores[f"r@{k}"] for k in hits} == {k: hit / len(test) for k, hit in hits.items()}
    assert next(iter(scores)) == "r@1" and scores["chance"] == pytest.approx(0.25)
    assert ("per_video" in evaluation.artifacts) == (level == "video")


def test_k_beyond_the_gallery_are_left_out():
    evaluation = retrieval(topk=(1, 24, 25, 50))
    assert set(evaluation.run(Tiny(), FakeData(), trainer())) == {"r@1", "r@24", "chance"}
    table = evaluation.artifacts["recall"]
    assert table["k"].tolist() == [1, 24] and table["recall"][1] == table["chance"][1] == 1.0
    assert "r@50" in retrieval(level="clip", topk=(1, 50)).run(Tiny(), FakeData(), trainer())  # 72 clips
    with pytest.raises(ValueError, match="evaluation.topk starts at 30, and the gallery has 24"):
        retrieval(topk=(30,)).run(Tiny(), FakeData(), trainer())


def test_chance_follows_the_frequencies_of_both_sides():
    data = distinct([0] * 18 + [1] * 6, [0] * 8 + [1] * 16)
    scores = retrieval(topk=(1,)).run(Levels(constant=True), data, trainer())
    assert scores == {"r@1": 1 / 3, "chance": pytest.approx(0.75 / 3 + 0.25 * 2 / 3)}  # all take the first, of label 0


@pytest.mark.parametrize("level", ["video", "clip"])
def test_centred_constants_are_nothing_and_no_error(level):
    assert retrieval(level=level, centre="separate").run(Levels(constant=True), FakeData(), trainer())["r@1"] == 0.25


def test_protocols_tell_levels_centring_and_neighbours_apart():
    made = [retrieval(level=v, centre=c).protocol for v in ("video", "clip") for c in ("none", "separate", "train")]
    assert len({*made, retrieval(topk=(1, 7)).protocol}) == 7
    assert len({knn().protocol, knn(k=6).protocol, knn(temperature=0.1).protocol}) == 3


@pytest.mark.parametrize(
    ("build", "key"),
    [
        (lambda: knn(k=0), "k"),
        (lambda: knn(temperature=0), "temperature"),
        (lambda: retrieval(level="frame"), "level"),
        (lambda: retrieval(centre="both"), "centre"),
        (lambda: retrieval(topk=(0, 1)), "topk"),
        (lambda: retrieval(topk=()), "topk"),
    ],
)
def test_bad_values_name_their_key(build, key):
    with pytest.raises(ValueError, match=f"evaluation.{key} "):
        build()


def test_what_was_retrieved_is_drawn(tmp_path):
    """Eight queries, five neighbours each; a border says whether the label is the query's."""
    data = FakeData(test=videos("test", labels=[0] * 12 + [2] * 12))
    evaluation = retrieval(topk=(1, 2))
    evaluation.run(Levels(), data, trainer(default_root_dir=str(tmp_path)))
    picture = cv2.imread(str(tmp_path / "retrieved.png"))[:, :, ::-1]
    assert picture.shape == (8 * SIDE, 3 * SIDE + GAP, 3)
    queries = [0, 3, 7, 10, 13, 16, 20, 23]
    for line, query in enumerate(queries):
        row = picture[line * SIDE : (line + 1) * SIDE]
        assert tuple(row[0, 0]) == QUERY
        for place in range(2):
            found = data.split("train")[evaluation.artifacts["neighbours"]["row"][query, place]]
            tile = row[:, SIDE + GAP + place * SIDE :][:, :SIDE]
            right = found.label == data.split("test")[query].label
            assert tuple(tile[0, 0]) == (RIGHT if right else WRONG)
            assert tile[SIDE // 2, SIDE // 2].mean() == pytest.approx(16 * int(found.path[7:9]) + 5.5, abs=2)
    borders = {tuple(picture[line * SIDE, -1]) for line in range(8)}
    assert borders == {RIGHT, WRONG}, "the test has both"
