"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BundleOption = Annotated[
    str | None,
    typer.Option(
        "--bundle",
        metavar="FILE",
        help="A .edgeleuk file, or `default` for the shipped one [default: default].",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.toml",
        help="Settings [default: $EDGELEUK_CONFIG, or edgeleuk.toml if it is here].",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Overwrite a file that edgeleuk did not make; sessions never.")
]
DataOption = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder of C-NMC images, in any of its layouts, or of your own pictures.",
    ),
]
ClassesOption = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="NAME=blast,NAME=normal",
        help="What the folders of your own pictures are called.",
    ),
]
SubjectsOption = Annotated[
    Path | None,
    typer.Option(
        "--subjects",
        "--labels",
        metavar="FILE.csv",
        help="Whose pictures they are, what they show, or both: file,subject,label.",
    ),
]
DataScaleOption = Annotated[
    float | None,
    typer.Option("--px-per-um", help="Scale of the pictures [default: the network's, or C-NMC's]."),
]
RuntimeOption = Annotated[
    str | None,
    typer.Option("--runtime", help="`litert` (default), `onnxruntime`, `openvino`, `cuda` or `tensorrt`."),
]
FastestOption = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        help="`auto` (default): the faster of `litert` and `onnxruntime` here; or `openvino`, `cuda`,"
        " `tensorrt`.",
    ),
]
PrecisionOption = Annotated[str | None, typer.Option("--precision", help="`int8` (default) or `float32`.")]
ThreadsOption = Annotated[int | None, typer.Option("--threads", help="Threads of the network [default: 1].")]
AbstainOption = Annotated[
    str | None,
    typer.Option(
        "--abstain",
        help="Uncertain by probability: the bundle's `band` (default), `conformal` sets, or `off`.",
    ),
]
ImagesOption = Annotated[
    int | None, typer.Option("--images", help="How many images to calibrate with [default: 100].")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Fixes which images those are [default: 0].")]
StrategyOption = Annotated[
    str | None,
    typer.Option(
        "--strategy", help="Which images: `balanced` (default) by class and subject, `random`, or `diverse`."
    ),
]
LimitsOption = Annotated[
    Path | None,
    typer.Option("--limits", metavar="FILE", help="TOML with a table [limits]: what may be lost."),
]
ScaleOption = Annotated[
    float | None,
    typer.Option("--px-per-um", help="Scale of the picture; without it, estimated from the red cells."),
]
QualityCheckOption = Annotated[
    bool | None,
    typer.Option(
        "--quality-check/--no-quality-check",
        help="Reject blurred, badly lit and empty pictures, by reason [default: on].",
    ),
]
MegapixelsOption = Annotated[
    float | None,
    typer.Option("--most-megapixels", metavar="N", help="Refuse larger pictures, undecoded [default: 100]."),
]

StageOption = Annotated[
    str | None,
    typer.Option(
        "--stage",
        metavar="URL",
        help="serial:///dev/serial/by-id/NAME, socket://HOST:PORT, openflexure://HOST, or a plug-in's.",
    ),
]
ProtocolOption = Annotated[
    str | None,
    typer.Option("--protocol", help="`sangaboard` or `grbl` [default: the board is asked]."),
]
StageConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--stage-config",
        metavar="FILE.toml",
        help="How the stage is built; `stage map --out` writes one. Flags win.",
    ),
]
UmPerStepOption = Annotated[
    float | None, typer.Option("--um-per-step", help="Length of a step, of all axes [default: 1].")
]
BacklashOption = Annotated[
    float | None, typer.Option("--backlash-um", help="Play of the threads, to be taken out [default: 0].")
]
ScanBacklashOption = Annotated[
    float | None, typer.Option("--backlash-um", help="Play that is taken out [default: 10].")
]
LampOption = Annotated[
    float | None,
    typer.Option("--lamp", metavar="LEVEL", help="Light the board's lamp, 0 to 1 [default: as it is]."),
]
YesOption = Annotated[
    bool, typer.Option("--yes", help="Go further than 5 mm, although no limits of the stage are set.")
]
UntilPointsOption = Annotated[
    float | None,
    typer.Option(
        "--until-points", metavar="W", help="End when the share of blasts is known to +-W points (95 %)."
    ),
]
UntilOfOption = Annotated[
    str | None,
    typer.Option(
        "--until-of",
        metavar="CELLS",
        help="Blasts of `white` or of `lymphoid` cells [default: white, if the bundle names kinds].",
    ),
]
UntilCellsOption = Annotated[
    int | None, typer.Option("--until-cells", metavar="N", help="End when N cells are counted.")
]
SplitOption = Annotated[
    str | None,
    typer.Option(
        "--split", metavar="1h|10000", help="Go on in a new file after that time, or so many frames."
    ),
]
KeepOption = Annotated[
    str | None,
    typer.Option("--keep", metavar="30d|20GB", help="Keep so much of the pictures; the oldest go first."),
]
KeepResultsOption = Annotated[
    str | None,
    typer.Option(
        "--keep-results", metavar="90d|1GB", help="With --split: remove older files, results and all."
    ),
]
PicturesOption = Annotated[
    str | None,
    typer.Option("--pictures", metavar="WHICH", help="Cells to keep: `all`, `doubtful`, `none` [all]."),
]
DurabilityOption = Annotated[
    str | None,
    typer.Option("--durability", metavar="WHEN", help="On disk by `frame`, or within a `second` [second]."),
]
LosslessOption = Annotated[
    bool, typer.Option("--lossless", help="The slide without loss, some ten times as large; else as JPEG.")
]
ObjectiveOption = Annotated[
    str | None, typer.Option("--objective", metavar="MAGNIFICATION/NA", help="Noted in the slide: 40x/0.65.")
]
ScanCameraOption = Annotated[
    str | None, typer.Option("--camera", metavar="URI", help="As for `run` [default: the only one].")
]
ControlOption = Annotated[
    str | None,
    typer.Option(
        "--control",
        metavar="FILE",
        help="The laboratory's control sessions, or `default` for the file in your own folder.",
    ),
]
ControlRequiredOption = Annotated[
    bool | None,
    typer.Option(
        "--control-required/--control-advised",
        help="Refuse what is out of the laboratory's range, with exit code 3 [default: warn].",
    ),
]
SizeOption = Annotated[
    str | None,
    typer.Option(
        "--size", metavar="PX|HxW", help="Height and width, for a network that takes pictures of any size."
    ),
]
OutputOption = Annotated[
    str | None, typer.Option("--output", metavar="NAME", help="Which output, for a network with several.")
]
ServeOption = Annotated[
    str | None,
    typer.Option(
        "--serve", metavar="[HOST:]PORT", help="Show it in a browser; 0 takes a free port [host: 127.0.0.1]."
    ),
]
MqttOption = Annotated[
    str | None,
    typer.Option("--mqtt", metavar="URL", help="Tell a broker: mqtts://USER@HOST/PREFIX; see docs/fleet.md."),
]
TlsCertOption = Annotated[
    Path | None, typer.Option("--tls-cert", metavar="FILE", help="Serve by TLS with this certificate (PEM).")
]
TlsKeyOption = Annotated[
    Path | None,
    typer.Option("--tls-key", metavar="FILE", help="Its key [default: in the certificate's file]."),
]
