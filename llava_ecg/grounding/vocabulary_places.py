"""Words for places on the chart: territories of leads, English and German."""

from __future__ import annotations

from llava_ecg.grounding.tokens import Kind, Rows

PLACES: Rows = (
    (Kind.TERRITORY, "inferior", "inferior|inferiorly|inferior wall|inferiore|inferioren|inferiorer|inferiores"),
    (Kind.TERRITORY, "inferior", "hinterwand"),
    (Kind.TERRITORY, "lateral", "lateral|laterally|lateral wall|laterale|lateralen|lateraler|laterales"),
    (Kind.TERRITORY, "high lateral", "high lateral|high lateral wall|hochlateral|hochlaterale|hochlateralen"),
    (Kind.TERRITORY, "high lateral", "hochlateraler"),
    (Kind.TERRITORY, "septal", "septal|septum|septal wall|septale|septalen|septaler"),
    (Kind.TERRITORY, "anterior", "anterior|anteriorly|anterior wall|anteriore|anterioren|anteriorer|anteriores"),
    (Kind.TERRITORY, "anterior", "vorderwand"),
    (Kind.TERRITORY, "anteroseptal", "anteroseptal|antero septal|anteroseptal wall|anteroseptale|anteroseptalen"),
    (Kind.TERRITORY, "anteroseptal", "anteroseptaler"),
    (Kind.TERRITORY, "anterolateral", "anterolateral|antero lateral|anterolateral wall|anterolaterale|anterolateralen"),
    (Kind.TERRITORY, "anterolateral", "anterolateraler"),
    (Kind.TERRITORY, "inferolateral", "inferolateral|infero lateral|inferolateral wall|inferolaterale|inferolateralen"),
    (Kind.TERRITORY, "inferolateral", "inferolateraler"),
    (Kind.TERRITORY, "posterior", "posterior|posterior wall|posteriore|posterioren|posteriorer"),
    (Kind.TERRITORY, "precordial", "precordial|precordium|chest|precordially|anterior precordial|v leads|brustwand"),
    (Kind.TERRITORY, "right precordial", "right precordial|right chest|right precordium|right sided precordial"),
    (Kind.TERRITORY, "left precordial", "left precordial|left chest|left precordium|lateral precordial"),
    (Kind.TERRITORY, "limb", "limb|extremity|peripheral|frontal plane leads|extremitäten"),
    (Kind.LEAD, "precordial", "brustwandableitungen|v ableitungen|brustwandableitung|precordial leads"),
    (Kind.LEAD, "limb", "extremitätenableitungen|extremitätenableitung|extremitetsavledningarna"),
    (Kind.LEAD, "all", "all leads|most leads|all 12 leads|all twelve leads|every lead|all other leads"),
    (Kind.LEAD, "all", "allen ableitungen|each lead"),
    (Kind.LEAD, "all", "all the leads"),
    (Kind.LEAD, "same", "same leads|these leads|those leads|same lead|the same leads|same territory|that lead"),
    (Kind.LEAD, "same", "this lead"),
    (Kind.LEAD, "same", "same distribution"),
)
