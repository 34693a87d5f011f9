"""Two examples for each command, as its help shows them; what is in capitals is yours to put in."""

from __future__ import annotations

EXAMPLES: dict[tuple[str, ...], tuple[str, str]] = {
    (): ("classify field.jpg --save annotated.png", "run --camera virtual:// --frames 20"),
    ("train",): (
        "train --data C-NMC --out resnet.keras",
        "train --data C-NMC --out small.keras --architecture baseline --epochs 5",
    ),
    ("cross-validate",): (
        "cross-validate --data C-NMC --out comparison --architecture resnet --architecture baseline",
        "cross-validate --data C-NMC --out quick --architecture resnet --folds 2 --seeds 1",
    ),
    ("evaluate",): (
        "evaluate resnet.keras --data C-NMC",
        "evaluate resnet.edgeleuk --data C-NMC --report report",
    ),
    ("convert",): (
        "convert resnet.keras --calibration C-NMC --out resnet.edgeleuk",
        "convert own.keras --calibration PICTURES --classes sick=blast,well=normal --out own.edgeleuk",
    ),
    ("contract",): (
        "contract own.keras --data PICTURES --classes sick=blast,well=normal",
        "contract own.keras --data C-NMC --out contract.toml",
    ),
    ("calibrate",): (
        "calibrate resnet.keras --data C-NMC --out calibration",
        "calibrate resnet.keras --data C-NMC --out calibration --images 200 --curve",
    ),
    ("validate",): (
        "validate resnet.edgeleuk --data C-NMC",
        "validate resnet.edgeleuk --data C-NMC --limits limits.toml --report report",
    ),
    ("compare",): (
        "compare default new.edgeleuk --data C-NMC",
        "compare old.edgeleuk new.edgeleuk --data PICTURES --json",
    ),
    ("inspect",): ("inspect", "inspect resnet.edgeleuk --json"),
    ("verify",): ("verify resnet.edgeleuk", "verify night.db"),
    ("run",): (
        "run --camera virtual:// --frames 20",
        "run --camera v4l2:///dev/v4l/by-id/NAME --session night.db --serve 8000",
    ),
    ("classify",): (
        "classify field.jpg --save annotated.png",
        "classify PICTURES --out answers.jsonl --jobs 4",
    ),
    ("segment",): (
        "segment field.jpg --out masks",
        "segment a.png b.png --out masks --px-per-um 13.2",
    ),
    ("review",): ("review night.db", "review night.db --serve 8765"),
    ("replay",): ("replay night.db --cell 3", "replay night.db --bundle resnet.edgeleuk"),
    ("export",): ("export night.db --csv --out night.csv", "export night.db --coco night-coco"),
    ("report",): ("report night.db --html night.html --pdf night.pdf", "report --compare night.db again.db"),
    ("publish",): (
        "publish night.db --mqtt mqtts://stand3@broker.lab/lab/stand3",
        "publish night.db --again --json",
    ),
    ("trend",): ("trend sessions --html trend.html", "trend sessions --last 30d --control default"),
    ("bench",): ("bench", "bench --bundle resnet.edgeleuk --out device.json --limit p95_ms=20"),
    ("doctor",): ("doctor", "doctor --stage serial:///dev/ttyUSB0 --bundle report.zip"),
    ("service", "install"): (
        "service install --config edgeleuk.toml --print",
        "service install --config edgeleuk.toml",
    ),
    ("service", "uninstall"): ("service uninstall", "service uninstall --root IMAGE"),
    ("service", "status"): ("service status", "service status --json"),
    ("service", "logs"): ("service logs", "service logs --lines 20 --follow"),
    ("service", "run"): ("service run", "service run --config edgeleuk.toml"),
    ("scan",): (
        "scan --area 2x1 --stage serial:///dev/ttyUSB0 --session slide.db",
        "scan --area 5x5 --stage socket://HOST:7011 --camera http://HOST/stream --slide slide.ome.tiff",
    ),
    ("slide",): (
        "slide slide.db slide.ome.tiff",
        "slide slide.db again.ome.zarr --fields slide.ome.tiff.fields --objective 40x/0.65",
    ),
    ("virtual-microscope",): (
        "virtual-microscope --http :8080 --stage :7011",
        "virtual-microscope --http :8080 --stage :7011 --protocol grbl --seed 2",
    ),
    ("camera", "list"): ("camera list", "camera list --json"),
    ("camera", "probe"): ("camera probe", "camera probe virtual:// --out probe.png"),
    ("camera", "flat-field"): (
        "camera flat-field v4l2:///dev/v4l/by-id/NAME --out blank.png",
        "camera flat-field dir://glass --out blank.png --frames 8",
    ),
    ("stage", "info"): (
        "stage info --stage serial:///dev/ttyUSB0",
        "stage info --stage socket://HOST:7011 --json",
    ),
    ("stage", "move"): (
        "stage move --stage serial:///dev/ttyUSB0 --x 500 --y 0 --relative",
        "stage move --stage socket://HOST:7011 --z 12",
    ),
    ("stage", "home"): (
        "stage home --stage serial:///dev/ttyUSB0",
        "stage home --stage socket://HOST:7011 --protocol grbl",
    ),
    ("stage", "unlock"): (
        "stage unlock --stage serial:///dev/ttyUSB0",
        "stage unlock --stage socket://HOST:7011 --protocol grbl",
    ),
    ("stage", "stop"): (
        "stage stop --stage serial:///dev/ttyUSB0",
        "stage stop --stage socket://HOST:7011 --json",
    ),
    ("stage", "map"): (
        "stage map --stage serial:///dev/ttyUSB0 --out stage.toml",
        "stage map --stage socket://HOST:7011 --camera http://HOST/stream --lamp 0.5",
    ),
    ("stage", "simulate"): (
        "stage simulate --listen :7011",
        "stage simulate --protocol grbl --pty board --fault drop:0.1",
    ),
    ("mcu", "check"): (
        "mcu check default --flash 1M --ram 256K",
        "mcu check small.edgeleuk --flash 2M --ram 1M --vela ethos-u55-128",
    ),
    ("mcu", "export"): ("mcu export default --out firmware", "mcu export default --out firmware --golden 4"),
    ("session", "keep"): ("session keep sessions --keep 20GB", "session keep night.db --keep 30d --json"),
    ("control", "add"): (
        "control add monday.db --slide lot-7",
        "control add week/*.db --slide lot-7 --plot control.png",
    ),
    ("control", "check"): ("control check", "control check today.db --plot control.png"),
    ("control", "list"): ("control list", "control list --slide lot-7 --json"),
    ("control", "remove"): ("control remove monday.db", "control remove 1f0c9a2b7d3e --json"),
    ("teach",): (
        "teach default --labels lab.labels --laboratory 'Ward 7' --out lab.edgeleuk",
        "teach lab.edgeleuk --labels monday.labels --labels tuesday.labels --out next.edgeleuk --json",
    ),
    ("labels", "list"): ("labels list lab.labels", "labels list monday.labels tuesday.labels --json"),
    ("labels", "set"): (
        "labels set night.db --cell 12 --label monocyte --by MM",
        "labels set night.db --from labels.csv --by MM --slide S7 --subject P3",
    ),
    ("labels", "next"): (
        "labels next night.db",
        "labels next monday.db tuesday.db --bundle lab.edgeleuk --labels lab.labels --count 20 --json",
    ),
    ("labels", "import"): (
        "labels import PICTURES --slide-from folder --by MM --out lab.labels",
        "labels import CROPS --names '{label}_{slide}-*' --by MM --out lab.labels",
    ),
    ("labels", "export"): (
        "labels export night.db --out night_checked.labels",
        "labels export lab.labels --csv lab.csv",
    ),
    ("labels", "merge"): (
        "labels merge monday.labels tuesday.labels --out lab.labels",
        "labels merge lab.labels night_checked.labels --out lab.labels",
    ),
    ("labels", "check"): ("labels check lab.labels", "labels check one.labels other.labels --json"),
    ("bundle", "sign"): (
        "bundle sign lab.edgeleuk --new-key ward7",
        "bundle sign lab.edgeleuk --key ward7.key --series lab",
    ),
    ("bundle", "trust"): ("bundle trust ward7.pub", "bundle trust --remove ward7"),
    ("bundle", "pull"): (
        "bundle pull https://HOST/lab.edgeleuk --to lab",
        "bundle pull usb --to lab.edgeleuk --control-session monday.db",
    ),
    ("bundle", "rollback"): ("bundle rollback lab", "bundle rollback lab.edgeleuk --json"),
    ("config", "show"): ("config show", "config show --config night.toml --json"),
}
