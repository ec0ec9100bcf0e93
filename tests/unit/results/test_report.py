"""The report, read back by a parser that knows nothing of its template."""

from __future__ import annotations

import base64
import csv
import json
import logging
import shutil
import warnings
from collections import Counter
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from wecolora.config.recipes import ArtifactRecipe, ClaimsRecipe, ReportArtifact, ReportRecipe
from wecolora.core.errors import BadInput
from wecolora.data.images import Index, write_index
from wecolora.results.claims import write_claims
from wecolora.results.figures import write_figure
from wecolora.results.report import Run, _run_curve, csv_table, write_report
from wecolora.results.scores import read_scores
from wecolora.results.tables import write_table

NASTY = r"""<b>ViT</b> & "sup" 'x' {{ 7 * 7 }} $\foo$ |y|"""
CONFIG = {
    "title": "unused",
    "teachers": {"sup": {"label": NASTY}, "mae": {"label": "ViT (MAE)"}},
    "datasets": {"photos": {"label": "Photos <&>"}, "tags": {"label": "Tags"}},
}
RUNS = [  # teacher, method, r, k, alpha, seed, slug
    ("sup", "weco_kd", 2, None, 1.0, 0, "weco_kd_r2_a1_s0"),
    ("sup", "weco_kd", 2, None, 1.0, 1, "weco_kd_r2_a1_s1"),
    ("sup", "wecolora", 2, 16, 1.0, 0, "wecolora_r2_k16_a1_s0"),
    ("sup", "wecolora", 2, 16, 10.0, 0, "wecolora_r2_k16_a10_s0"),
    ("mae", "weco_kd", 2, None, 1.0, 0, "weco_kd_r2_a1_s0"),
    ("mae", "teacher", 1, None, None, None, "teacher"),
]
ENVIRONMENT = {"device": "abacus", "torch": "9.8.7"}
COLLAPSE = "student collapse: the effective rank of its embeddings is 1.0, the teacher's 9.0"
UNSTABLE = "probe unstable: its loss rose to 3 from 2; lower probe.base_lr"
COUNTS = """\
teacher,method,r,k,blocks,parameters,parameters_saved,macs,macs_with_attention,trained,training_macs,\
training_macs_with_attention,teacher_macs,teacher_macs_with_attention,cache_bytes_per_view,cache_bytes_per_image
sup,teacher,1,,12,1362528,1362528,22855680,23521536,0,0,0,0,0,6336,63360
sup,wecolora,2,16,6,691488,691488,11575296,11908224,165888,14395392,14728320,0,0,6336,63360
"""
VOID = {"meta", "img", "br", "input", "link"}


def last(run, dataset):
    """A score that no other run or data set has."""
    return 10 + 7 * RUNS.index(run) + (0.25 if dataset == "tags" else 0.5)


def write_run(root, run):
    teacher, method, r, k, alpha, seed, slug = run
    folder = root / "runs" / teacher / slug
    (folder / "scores").mkdir(parents=True)
    axes = {"teacher": teacher, "method": method, "r": r, "k": k, "alpha": alpha, "seed": seed}
    axes["loss_point"] = None if method == "teacher" else "after_norm"
    collapsed = slug == "wecolora_r2_k16_a10_s0"
    history = [
        {"loss": 1 / epoch, "relative_loss": 2 / epoch, "student_rank": 1.0 if collapsed else 8.0, "teacher_rank": 9.0}
        | {"lr": 0.1, "signs": [COLLAPSE] if collapsed and epoch > 1 else []}
        for epoch in (1, 2, 3)
    ]
    student = {
        "recipe": {**axes, "lr": 0.0625, "layers": "paper"},
        "teacher_sha256": f"{teacher}-sha",
        "environment": ENVIRONMENT,
    }
    student |= {"images": 1234, "history": history}
    happened = {"finished": f"2031-01-0{RUNS.index(run) + 1}T00:00:00+0000", "seconds": 60.0, "host": "there"}
    happened["git"] = "f00d"
    if method != "teacher":  # which is probed as it is
        (folder / "student.json").write_text(json.dumps(student))
        (folder / "circumstances.json").write_text(json.dumps({**happened, "images_per_second": 55.5}))
    (folder / "scores/circumstances_all.json").write_text(json.dumps({**happened, "seconds": 30.0}))
    paths = []
    for dataset in ("tags", "photos"):
        score = {
            "run": {**axes, "dataset": dataset, "slug": slug},
            "metric": "mean AUC" if dataset == "tags" else "top-1",
            "last": last(run, dataset),
            "best": 99.0,
            "best_epoch": 5,
            "n_train": 4321,
            "n_test": 765,
            "student_sha256": f"{teacher}-{slug}-sha" if method != "teacher" else f"{teacher}-sha",
            "teacher_sha256": f"{teacher}-sha",
            "signs": ["student collapse"] * collapsed + [UNSTABLE] * (dataset == "tags" and run[:4:3] == ("mae", None)),
            "recipe": {"distill": student["recipe"] if method != "teacher" else None, "probe": {"base_lr": 0.125}},
            "revisions": {"distill": 3, "probe": 4},
            "environment": ENVIRONMENT,
        }
        path = folder / "scores" / f"{dataset}.json"
        path.write_text(json.dumps(score))
        paths.append(path)
    return paths


# Digests of the training and the test images of the corpus and of the scored data sets; "": not known.
IMAGES = {"pool": ("abc", ""), "photos": ("d", "ef"), "tags": ("", "g")}


def write_images(root, name, train, test):
    """An index of images with one letter for a digest."""
    count = len(train + test)
    split = ["train"] * len(train) + ["test"] * len(test)
    places = [str(number) for number in range(count)]
    path = root / "data" / name / "index.parquet"
    labels: list[list[int]] = [[] for _ in places]
    write_index(Index(name, ".", [], False, places, places, [0] * count, labels, split, digests=[*train, *test]), path)
    return path


class Campaign:
    """A finished campaign in a folder, as its jobs leave it."""

    def __init__(self, root):
        self.root = root
        self.scores = [path for run in RUNS for path in write_run(root, run)]
        self.config = root / "config.yaml"
        self.config.write_text(json.dumps(CONFIG))
        self.indexes = [write_images(root, name, *digests) for name, digests in IMAGES.items()]
        frame = read_scores(self.scores)
        recipe = ArtifactRecipe(
            name="table1",
            title="Table <1>",
            caption="Scores & more.",
            rows=["alpha", "method"],
            x=None,
            datasets={name: dataset["label"] for name, dataset in CONFIG["datasets"].items()},
            teachers={"sup": NASTY},
            methods=["weco_kd", "wecolora"],
            paper_teachers={"sup": "vitb_sup"},
            paper_table=3,
            paper_datasets={"photos": "imagenet1k"},
            revision=1,
        )
        table, figure, claims = self.files("table1"), self.files("figure5"), self.files("claims")
        write_table(frame[frame["teacher"] == "sup"], recipe, *table)
        drawn = recipe.model_copy(update={"datasets": {"photos": "Photos <&>"}, "x": "alpha", "title": "Figure 5"})
        shown = frame[(frame["teacher"] == "sup") & (frame["dataset"] == "photos")]
        write_figure(shown, drawn, *figure)
        self.png = figure[1].read_bytes()
        roles = {"teachers": {"sup": "vitb_sup", "mae": "vitb_mae"}, "datasets": {"photos": "imagenet1k"}}
        judged = ClaimsRecipe(title="Claims", caption="Words.", widths={"sup": 96, "mae": 96}, revision=1, **roles)
        write_claims(frame, judged, *claims)
        counts, _, speed = computation = self.files("cost")
        counts.write_text(COUNTS)
        speed.write_text(
            "teacher,r,methods,latency_ms,images_per_second,peak_memory_mb\nsup,1,dmae wecolora,4.671,1259,\n"
        )
        artifacts = {
            "table1": ("table", recipe.title, recipe.caption, table, recipe),
            "figure5": ("figure", "Figure 5", 'Over "alpha".', figure, None),
            "cost": ("computation", "Cost", "Counted.", computation, None),
            "claims": ("claims", "Verdicts", "What is claimed.", claims, None),
            "figure2": ("latent", "Figure 2", "Points.", figure, None),
        }
        fields = ("kind", "title", "caption", "files", "recipe")
        self.recipe = ReportRecipe(
            title=f"Try {NASTY}",
            artifacts={
                name: ReportArtifact(**dict(zip(fields, (*rest[:3], [str(f) for f in rest[3]], rest[4]), strict=True)))
                for name, rest in artifacts.items()
            },
            revision=1,
        )

    def files(self, name):
        return [self.root / f"{name}.{number}" for number in range(3)]

    def page(self, name="report.html", scores=None, students=(), **changes):
        path = self.root / name
        recipe = self.recipe.model_copy(update=changes)
        scores = self.scores if scores is None else scores
        write_report(recipe, scores, students, self.indexes, self.config, path, logging.getLogger("wecolora"))
        return Page(path.read_text(encoding="utf-8"))


class Page(HTMLParser):
    """Each element's tag, attributes and text (with that of what it holds), in the page's order."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.html, self.elements, self.open = html, [], []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {[tag for tag, *_ in self.open]}"

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"{tag}: an attribute twice"
        element = (tag, dict(attrs), [], list(self.open))
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1][0] == tag, f"</{tag}> in {[tag for tag, *_ in self.open]}"
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element[2].append(data)

    def find(self, tag, inside=None, **attrs):
        """Elements of that tag with these attributes, somewhere inside that one."""
        return [
            element
            for element in self.elements
            if element[0] == tag
            and all(element[1].get(name.rstrip("_")) == value for name, value in attrs.items())
            and (inside is None or any(outer is inside for outer in element[3]))
        ]

    def one(self, tag, inside=None, **attrs):
        (element,) = self.find(tag, inside, **attrs)
        return element

    def table(self, inside):
        """The only table in there: its rows as texts, the head's first."""
        table = self.one("table", inside)
        rows = self.find("tr", table)
        cells = [[e for e in self.elements if e[0] in ("td", "th") and e[3] and e[3][-1] is row] for row in rows]
        return [[text(cell) for cell in row] for row in cells]

    def section(self, identifier):
        """The section whose heading has that id."""
        (heading,) = [element for element in self.elements if element[1].get("id") == identifier]
        return next(outer for outer in reversed(heading[3]) if outer[0] == "section")


def text(element):
    return " ".join("".join(element[2]).split())


def anchor(run):
    return f"run-{run[0]}-{run[-1]}"


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    return Campaign(tmp_path_factory.mktemp("campaign"))


@pytest.fixture(scope="module")
def page(campaign):
    return campaign.page()


# Whole by itself


def test_every_link_has_its_target_and_every_id_is_one(page):
    ids = Counter(attrs["id"] for _, attrs, *_ in page.elements if "id" in attrs)
    assert set(ids.values()) == {1}
    links = [attrs["href"] for tag, attrs, *_ in page.elements if tag == "a" and "download" not in attrs]
    assert len(links) == 37 and all(link.startswith("#") and link[1:] in ids for link in links)
    labelled = [attrs["for"] for tag, attrs, *_ in page.elements if tag == "label"]
    assert labelled == ["filter"] and "filter" in ids


def test_nothing_is_loaded(page):
    for tag, attrs, *_ in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert tag != "script" or not attrs
        assert all(value.startswith("data:image/") for name, value in attrs.items() if name in ("src", "srcset"))
        own = ("#", "data:") if "download" in attrs else "#"
        assert all(value.startswith(own) for name, value in attrs.items() if name in ("href", "action"))
    assert "@import" not in page.html and "url(" not in page.html
    (policy,) = [a["content"] for t, a, *_ in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")


def test_labels_are_text(page):
    assert "<b>ViT" not in page.html and "Table <1>" not in page.html and "Photos <&>" not in page.html
    assert text(page.one("h1")) == text(page.one("title")) == f"Try {NASTY}"
    assert text(page.one("h3", id="artifact-table1")) == "Table <1>"
    assert not page.find("b")


def test_the_same_results_give_the_same_bytes(campaign, page):
    again = campaign.page("again.html", scores=campaign.scores[::-1])
    assert again.html == page.html


# Artifacts


def test_a_cell_leads_to_its_runs(page):
    rows = page.table(page.section("artifact-table1"))
    assert rows == [
        ["alpha", "Method", "Photos <&> (top-1)", "Tags (mean AUC)"],
        ["1%", "WeCo+KD", "14.0 ± 4.9 seeds 0 1", "13.8 ± 4.9 seeds 0 1"],
        ["", "WeCoLoRA", "24.5", "24.2"],
        ["10%", "WeCoLoRA", "31.5†", "31.2†"],
    ]
    links = [attrs["href"] for _, attrs, *_ in page.find("a", page.section("artifact-table1"))]
    seeds = ["#run-sup-weco_kd_r2_a1_s0", "#run-sup-weco_kd_r2_a1_s1"]
    one, ten = "#run-sup-wecolora_r2_k16_a1_s0", "#run-sup-wecolora_r2_k16_a10_s0"
    assert links == [*seeds, *seeds, one, one, ten, ten]
    bold = [text(best) for best in page.find("strong", page.section("artifact-table1"))]
    assert bold == ["24.5", "24.2", "31.5†", "31.2†"]
    assert text(page.one("caption", page.section("artifact-table1"))) == "Scores & more."
    flag, note = (text(part) for part in page.find("p", page.section("artifact-table1")))
    assert flag.startswith("† A run behind it showed a failure sign")
    assert note == "Of the paper's 1 orderings of two methods in a column, 1 hold here by their means."


def test_a_figure_is_embedded_as_it_is(campaign, page):
    image = page.one("img", page.section("artifact-figure5"))
    kind, content = image[1]["src"].split(",")
    assert kind == "data:image/png;base64" and base64.b64decode(content) == campaign.png
    assert image[1]["alt"].startswith('Figure 5: Over "alpha".')
    assert page.table(page.section("artifact-figure5"))[1][:2] == [NASTY, "WeCo+KD"]
    latent = page.section("artifact-figure2")  # its values are too many
    assert page.one("img", latent)[1]["src"] == image[1]["src"] and not page.find("table", latent)


def test_the_computation_study_is_two_tables(page):
    tables = page.find("table", page.section("artifact-cost"))
    texts = [[text(cell) for cell in page.elements if cell[0] in ("td", "th") and table in cell[3]] for table in tables]
    counts, speed = texts
    columns = ["Teacher", "Model", "r", "k", "Blocks", "Parameters (M)", "trained (M)", "GMACs", "with attention"]
    columns += ["GMACs in training", "the teacher's", "KB a cached view", "KB an image (10 views)"]
    teacher = [NASTY, "Teacher", "", "", "12", "1.36", "", "0.02286", "0.02352", "", "", "6.3", "63.4"]
    student = [NASTY, "WeCoLoRA", "2", "16", "6", "0.69", "0.17", "0.01158", "0.01191", "0.0144", "", "6.3", "63.4"]
    assert counts == [*columns, *teacher, *student]
    columns = ["teacher", "r", "methods", "latency ms", "images per second"]  # the empty one is left out
    assert speed == [*columns, NASTY, "1", "DMAE; WeCoLoRA", "4.671", "1,259"]


def test_verdicts_come_first_with_word_and_colour(campaign, page):
    headings = [text(heading) for heading in page.find("h2")]
    assert headings[:4] == ["Verdicts", "Tables", "Figures", "Computation"]
    section = page.section("artifact-claims")
    marks = page.find("span", section)
    verdicts = [line["verdict"] for line in read_csv(campaign.files("claims")[0])]
    assert [text(mark) for mark in marks] == verdicts and len(set(verdicts)) > 1
    style = text(page.one("style"))
    assert all(mark[1]["class"] == "mark " + text(mark).replace(" ", "-") for mark in marks)
    assert all(f".{verdict} {{" in style or f", .{verdict} {{" in style for verdict in ("holds", "fails", "undecided"))
    comparisons = page.find("tr", page.one("details", section))
    run = [line for line in read_csv(campaign.files("claims")[1]) if line["seeds"] != "0"]
    assert len(comparisons) == 1 + len(run) > 1
    links = {attrs["href"] for _, attrs, *_ in page.find("a", page.one("details", section))}
    behind = {name for line in run for name in f"{line['better_runs']} {line['worse_runs']}".split()}
    assert links == {f"#run-{name.replace('/', '-')}" for name in behind}


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# Runs


def test_every_run_has_its_section(page):
    found = [attrs["id"] for _, attrs, *_ in page.find("details", class_="run")]
    order = [0, 1, 2, 3, 5, 4]  # teachers, then methods, as config and code list them: the teacher itself first
    assert found == [anchor(RUNS[place]) for place in order]


@pytest.mark.parametrize("run", RUNS, ids=anchor)
def test_a_run_tells_all_of_itself(page, run):
    section = page.one("details", id=anchor(run))
    rows = page.table(section)
    assert [row[:3] for row in rows[1:]] == [
        ["Photos <&>", "top-1", f"{last(run, 'photos'):.2f}"],
        ["Tags", "mean AUC", f"{last(run, 'tags'):.2f}"],
    ]
    assert rows[1][3:] == ["99.00", "5", "4,321", "765"]
    words = text(section)
    for dataset in CONFIG["datasets"]:
        assert words.count(f"{last(run, dataset):.2f}") == 1
    teacher, method, r, k, alpha, seed, slug = run
    distilled = method != "teacher"
    assert words.count(f"sha256 {teacher}-{slug}-sha") == distilled and f"sha256 {teacher}-sha" in words
    assert words.count("after the norm") == words.count("1234 images") == distilled
    axes = f"r = {r}" + (f", k = {k}" if k else "") + (f", alpha = {alpha:g}, seed = {seed}" if alpha else "")
    assert axes in [text(value) for value in page.find("dd", section)]
    assert "distill 3, probe 4" in words and words.count("device abacus, torch 9.8.7") == 1
    day = f"2031-01-0{RUNS.index(run) + 1}T00:00:00+0000"
    assert words.count(f"finished {day}, took 60.0 s on there, 55.5 images/s") == distilled
    assert words.count(f"finished {day}, took 30.0 s on there") == 1
    *distillation, one, other = [json.loads(text(recipe)) for recipe in page.find("pre", section)]
    assert [(found["lr"], found["seed"]) for found in distillation] == [(0.0625, seed)] * distilled
    assert one == other == {"base_lr": 0.125}


def test_a_run_has_its_curve_and_a_teacher_none(page):
    for run in RUNS:
        images = page.find("img", page.one("details", id=anchor(run)))
        assert len(images) == (run[1] != "teacher")
        for image in images:
            svg = base64.b64decode(image[1]["src"].split(",")[1]).decode()
            assert svg.count(">loss<") == 1 and ">effective rank<" in svg and ">student<" in svg
            assert "from 1.000 to 0.333" in image[1]["alt"]


def test_all_curves_stand_in_panels_of_teacher_and_r(page):
    images = page.find("img", page.section("curves"))
    pictures = [base64.b64decode(image[1]["src"].split(",")[1]).decode() for image in images]
    assert len(pictures) == 2
    for picture in pictures:
        assert "ViT (MAE), r = 2" in picture and ", r = 1" not in picture
        assert {f"alpha = {alpha}%" in picture for alpha in (1, 10)} == {True} and ">WeCoLoRA<" in picture


def test_labels_are_text_in_the_curves_too(page):
    images = page.find("img", page.section("curves"))
    assert len(images) == 2
    for image in images:
        found = ElementTree.fromstring(base64.b64decode(image[1]["src"].split(",")[1]))
        words = " ".join("".join(element.itertext()) for element in found.iter() if element.tag.endswith("}text"))
        assert f"{NASTY}, r = 2" in " ".join(words.split()) and "alpha = 10%" in words


def test_a_loss_of_0_throughout_has_a_curve():
    epoch = {"loss": 0.0, "student_rank": 1.0, "teacher_rank": 9.0}
    with warnings.catch_warnings(action="error"):
        assert _run_curve(Run({}, {}, {"history": [epoch, epoch]}, {}, [])).startswith("data:image/svg")


def test_a_label_that_looks_like_a_number_is_no_number(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("teacher,method,seeds,mean\n2048,weco_kd,1234,50.5\n")
    labels = {"teacher": {"2048": "4096"}, "method": {"weco_kd": "7"}, "dataset": {}}
    assert csv_table(path, labels) == {
        "columns": {"teacher": False, "method": False, "seeds": True, "mean": True},
        "rows": [["4096", "7", "1,234", "50.5"]],
    }


def test_failure_signs_are_listed_by_sign(page):
    section = page.section("signs")
    assert [text(heading) for heading in page.find("h3", section)] == ["Student collapse (1)", "Probe unstable (2)"]
    links = [attrs["href"][1:] for _, attrs, *_ in page.find("a", section)]
    assert links == [anchor(RUNS[3]), anchor(RUNS[5]), anchor(RUNS[4])]
    items = [text(item) for item in page.find("li", section)]
    assert "distillation, epoch 2, 3: " + COLLAPSE.removeprefix("student collapse: ") in items[0]
    assert items[2].endswith("probe on Tags: " + UNSTABLE.removeprefix("probe unstable: "))
    for run in RUNS:
        marks = [text(mark) for mark in page.find("span", page.one("details", id=anchor(run)))]
        assert marks == {3: ["student collapse"], 4: ["probe unstable"], 5: ["probe unstable"]}.get(RUNS.index(run), [])


# The page's head and end


def test_the_head_says_what_it_is_made_of(page):
    head = page.one("header")
    terms = [text(term) for term in page.find("dt", head)]
    facts = dict(zip(terms, [text(value) for value in page.find("dd", head)], strict=True))
    assert facts == {
        "Runs": "6, with 12 scores",
        "Seeds": "0, 1",
        "Teachers": f"{NASTY}ViT (MAE)",
        "Jobs finished": "2031-01-01T00:00:00+0000 to 2031-01-06T00:00:00+0000",
        "Time of all jobs": "8 min",
        "Device and versions": "device abacus, torch 9.8.7",
        "Code (git)": "f00d",
    }


def test_the_config_stands_at_the_end(page):
    assert json.loads("".join(page.find("pre")[-1][2])) == CONFIG


# What may be missing


def test_circumstances_may_be_missing(tmp_path):
    campaign = Campaign(tmp_path)
    for path in tmp_path.glob("runs/*/*/**/circumstances*.json"):
        path.unlink()
    page = campaign.page()
    assert len(page.find("details", class_="run")) == len(RUNS)
    assert "took" not in text(page.one("main")) and "Jobs finished" not in text(page.one("header"))


def benchmark(root, name, values):
    path = root / "benchmarks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("s\th:m:s\tmax_rss\tmax_vms\tcpu_time\n" + "\t".join(values) + "\n")
    return path


def test_a_run_shows_what_snakemake_noted_of_its_jobs(tmp_path):
    campaign, (run, *_) = Campaign(tmp_path), [run for run in RUNS if run[1] != "teacher"]
    name = f"{run[0]}/{run[-1]}"
    benchmark(tmp_path, f"distill/{name}.tsv", ["123.4567", "0:02:03", "2048.25", "9.0", "456.78"])
    benchmark(tmp_path, f"features/{name}/tags.tsv", ["1.5", "0:00:01", "NA", "-", "0.00"])
    page = campaign.page()
    values = [text(value) for value in page.find("dd", page.one("details", id=anchor(run)))]
    assert "distillation: 123.5 s, 2048 MB of memory at most, 456.8 s of CPU time" in values
    assert "features, tags: 1.5 s" in values and not any("probes, " in value for value in values)


def test_a_benchmark_that_is_none_is_named(tmp_path):
    campaign = Campaign(tmp_path)
    run = RUNS[-1]
    path = benchmark(tmp_path, f"probe/{run[0]}/{run[-1]}/all.tsv", [])
    path.write_text("nothing")
    with pytest.raises(BadInput, match=r"all\.tsv: is no benchmark of Snakemake's"):
        campaign.page()


def test_a_teacher_alone(tmp_path):
    campaign = Campaign(tmp_path)
    paths = [path for path in campaign.scores if path.parts[-3] == "teacher"]
    page = campaign.page(scores=paths, artifacts={})
    assert [text(heading) for heading in page.find("h2")] == ["Failure signs", "Runs", "Config"]
    summary, _ = page.find("summary", page.one("details", class_="run"))
    assert text(summary) == "Teacher, ViT (MAE), r = 1 teacher probe unstable"


def test_no_signs_are_said_to_be_none(tmp_path):
    campaign = Campaign(tmp_path)
    page = campaign.page(scores=campaign.scores[:2], artifacts={})
    assert text(page.section("signs")).startswith("Failure signs None")


def test_a_student_without_a_score_is_listed_with_its_signs(campaign, tmp_path):
    """A campaign of students alone has no scores, and its warnings are the only ones."""
    (tmp_path / "only").mkdir()
    folder = tmp_path / "only" / "weco_kd_r2_a1_s0"
    scored = campaign.scores[0].parent.parent
    shutil.copytree(scored, folder, ignore=shutil.ignore_patterns("scores"))
    about = json.loads((folder / "student.json").read_text())
    about["recipe"] |= {"teacher": "sup", "method": "weco_kd", "r": 2, "k": None, "alpha": 1.0, "seed": 0}
    about["recipe"] |= {"loss_point": "after_norm"}
    about["history"][-1]["signs"] = ["student collapse: its rank is 2"]
    (folder / "student.json").write_text(json.dumps(about))
    page = campaign.page("only.html", scores=[], students=[folder / "student.json"], artifacts={})
    assert 'id="run-sup-weco_kd_r2_a1_s0"' in page.html
    assert "its rank is 2" in page.html and "no student collapsed" not in page.html
    assert "runs/sup/weco_kd_r2_a1_s0/student.safetensors" in page.html


def test_test_images_that_students_were_distilled_on_are_told(tmp_path, caplog):
    campaign = Campaign(tmp_path)
    assert "distilled on" not in campaign.page().html and caplog.text == ""
    campaign.indexes = [
        write_images(tmp_path / "more", "pool", ["a", "b", ""], []),
        write_images(tmp_path / "more", "photos", ["a"], ["b", "c", "a", ""]),
        write_images(tmp_path / "more", "tags", ["b"], ["", "d"]),
    ]
    page = campaign.page("leaks.html")
    assert "WARNING: test images are among the corpus's: Photos <&>: 2 of 3." in caplog.text
    assert len(caplog.records) == 1
    assert "Photos &lt;&amp;&gt;: 2 of 3" in page.html


def test_an_index_that_is_none_is_named(tmp_path):
    campaign = Campaign(tmp_path)
    campaign.indexes[1].write_bytes(b"hello")
    with pytest.raises(BadInput, match=r"photos/index\.parquet: is no index of a data set"):
        campaign.page()
