#!/usr/bin/env bash
# Version:  pydicom 3.0.2
# Expected: Waveform Padding Value (5400,100A) says which sample stands for none, so Dataset.waveform_array, which applies sensitivity,
#           correction factor and baseline, gives NaN there, or says that there is padding.
# Seen:     the padding is scaled as if it were measured: a lead that ends early ends in -159.9 mV. multiplex_array does not look at the
#           padding value at all, and returns no mask.
# Output:
#   padding value: -32768
#   samples: 0 100 -200 -32768 -32768
#   in uV:   0 488 -976 -159907.84 -159907.84
#   as stated
set -euo pipefail
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet pydicom==3.0.2 numpy==2.4.6 || { echo "could not install the packages"; exit 2; }
venv/bin/python - <<'PY'
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, GeneralECGWaveformStorage, generate_uid

PADDING = -32768
samples = np.array([0, 100, -200, PADDING, PADDING], "<i2")


def code(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


channel = Dataset()
channel.ChannelSourceSequence = [code("2:1", "MDC", "Lead I")]
channel.ChannelSensitivity, channel.ChannelSensitivityUnitsSequence = "4.88", [code("uV", "UCUM", "microvolt")]
channel.ChannelSensitivityCorrectionFactor, channel.ChannelBaseline = "1", "0"
channel.ChannelSampleSkew, channel.WaveformBitsStored = "0", 16

group = Dataset()
group.WaveformOriginality, group.SamplingFrequency = "ORIGINAL", "500"
group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = 1, len(samples)
group.ChannelDefinitionSequence = [channel]
group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
group.WaveformPaddingValue = np.array([PADDING], "<i2").tobytes()
group.WaveformData = samples.tobytes()

ecg = Dataset()
ecg.file_meta = FileMetaDataset()
ecg.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
ecg.SOPClassUID, ecg.SOPInstanceUID = GeneralECGWaveformStorage, generate_uid()
ecg.StudyInstanceUID, ecg.SeriesInstanceUID = generate_uid(), generate_uid()
ecg.PatientName = ecg.PatientID = ecg.PatientBirthDate = ecg.PatientSex = ""
ecg.StudyDate = ecg.StudyTime = ecg.StudyID = ecg.AccessionNumber = ecg.ReferringPhysicianName = ""
ecg.Modality, ecg.SeriesNumber, ecg.InstanceNumber, ecg.Manufacturer = "ECG", 1, 1, ""
ecg.ContentDate, ecg.ContentTime, ecg.AcquisitionDateTime = "20260101", "120000", "20260101120000"
ecg.AcquisitionContextSequence = []
ecg.WaveformSequence = [group]
ecg.save_as("ecg.dcm", enforce_file_format=True)

read = dcmread("ecg.dcm")
padding = int(np.frombuffer(read.WaveformSequence[0].WaveformPaddingValue, "<i2")[0])
microvolts = read.waveform_array(0)[:, 0]
print("padding value:", padding)
print("samples:", *samples)
print("in uV:  ", *(f"{value:.8g}" for value in microvolts))
if padding != PADDING or not np.allclose(microvolts, samples * 4.88):
    raise SystemExit("changed: padding is read otherwise than stated")
print("as stated")
PY
