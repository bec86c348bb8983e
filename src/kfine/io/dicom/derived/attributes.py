"""Attributes that a derived image inherits from the header of its source.

The list names attributes that remain valid at another matrix and at other times.  All others are dropped: private tags
of scanners repeat geometry and patient data.
"""

from __future__ import annotations

from copy import copy
from typing import Any

from kfine.io.dicom.frame import Plane
from kfine.io.dicom.header import group_value

PATIENT_AND_STUDY = (
    "SpecificCharacterSet", "TimezoneOffsetFromUTC",
    "PatientName", "PatientID", "IssuerOfPatientID", "TypeOfPatientID", "IssuerOfPatientIDQualifiersSequence",
    "PatientBirthDate", "PatientBirthTime", "PatientSex", "OtherPatientIDsSequence", "OtherPatientNames",
    "EthnicGroup", "PatientComments", "PatientSpeciesDescription", "PatientSpeciesCodeSequence",
    "PatientBreedDescription", "PatientBreedCodeSequence", "ResponsiblePerson", "ResponsiblePersonRole",
    "ResponsibleOrganization", "QualityControlSubject", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "LongitudinalTemporalInformationModified",
    "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID",
    "ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID", "ClinicalTrialTimePointID",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber",
    "IssuerOfAccessionNumberSequence", "ReferringPhysicianName", "PhysiciansOfRecord", "ConsultingPhysicianName",
    "NameOfPhysiciansReadingStudy", "ReferencedStudySequence", "ProcedureCodeSequence",
    "AdmittingDiagnosesDescription", "PatientAge", "PatientSize", "PatientWeight", "Occupation",
    "AdditionalPatientHistory", "PregnancyStatus", "SmokingStatus", "PatientSexNeutered", "AdmissionID",
)  # fmt: skip

SERIES_AND_EQUIPMENT = (
    "Laterality", "ProtocolName", "BodyPartExamined", "PatientPosition", "PerformingPhysicianName",
    "OperatorsName", "RequestAttributesSequence", "SeriesDate", "SeriesTime",
    "FrameOfReferenceUID", "PositionReferenceIndicator",
    "Manufacturer", "ManufacturerModelName", "InstitutionName", "InstitutionAddress", "StationName",
    "InstitutionalDepartmentName", "DeviceSerialNumber", "SoftwareVersions", "ContributingEquipmentSequence",
)  # fmt: skip

IMAGE_AND_ACQUISITION = (
    "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "ContentDate", "ContentTime", "AcquisitionNumber",
    "AnatomicRegionSequence", "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
    "ContrastBolusAgent", "ContrastBolusRoute", "ContrastBolusVolume", "ContrastBolusStartTime",
    "ContrastBolusTotalDose", "ContrastBolusIngredient", "ContrastBolusIngredientConcentration",
    "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "SequenceName", "AngioFlag",
    "RepetitionTime", "EchoTime", "EchoTrainLength", "InversionTime", "TriggerTime", "NumberOfAverages",
    "ImagingFrequency", "ImagedNucleus", "EchoNumbers", "MagneticFieldStrength", "SliceThickness",
    "NumberOfPhaseEncodingSteps", "PercentSampling", "PercentPhaseFieldOfView", "PixelBandwidth",
    "NominalInterval", "BeatRejectionFlag", "LowRRValue", "HighRRValue", "IntervalsAcquired", "IntervalsRejected",
    "HeartRate", "CardiacNumberOfImages", "TriggerWindow", "ReconstructionDiameter", "ReceiveCoilName",
    "TransmitCoilName", "AcquisitionMatrix", "InPlanePhaseEncodingDirection", "FlipAngle", "VariableFlipAngleFlag",
    "SAR", "dBdt", "ApplicableSafetyStandardAgency", "SliceLocation", "ComplexImageComponent", "ImageType",
    "ImageComments",
)  # fmt: skip

_INHERITED = (*PATIENT_AND_STUDY, *SERIES_AND_EQUIPMENT, *IMAGE_AND_ACQUISITION)

# Attributes of type 2, which must be present and may be empty.
EMPTY_IF_UNKNOWN = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip

# Functional groups of an enhanced image for attributes that a classic one has at the top level.
_MACROS = {
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "FlipAngle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "EchoTrainLength": ("MRTimingAndRelatedParametersSequence", "EchoTrainLength"),
    "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
    "TriggerTime": ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    "NominalInterval": ("CardiacSynchronizationSequence", "RRIntervalTimeNominal"),
    "NumberOfAverages": ("MRAveragesSequence", "NumberOfAverages"),
    "ImagingFrequency": ("MRImagingModifierSequence", "TransmitterFrequency"),
    "PixelBandwidth": ("MRImagingModifierSequence", "PixelBandwidth"),
    "PercentSampling": ("MRFOVGeometrySequence", "PercentSampling"),
    "PercentPhaseFieldOfView": ("MRFOVGeometrySequence", "PercentPhaseFieldOfView"),
    "ReceiveCoilName": ("MRReceiveCoilSequence", "ReceiveCoilName"),
    "AnatomicRegionSequence": ("FrameAnatomySequence", "AnatomicRegionSequence"),
}


def inherited_header(header: Any, plane: Plane) -> Any:
    """Return a new data set with the inherited attributes of `header`, flat as in a classic MR image.

    Args:
        header: the full data set of the plane's file, without pixels.
        plane: one of its frames.

    Raises:
        Exception: almost any exception for damaged values; call within `pydicom_errors`.
    """
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid

    inherited = Dataset()
    for keyword in _INHERITED:
        if not _is_empty(header.get(keyword)):
            # Values that violate the standard stay, as they identify.  A copy, since pydicom sets values in place.
            element = copy(header[keyword])
            for item in element.value if element.VR == "SQ" else ():
                list(item.iterall())  # decodes its elements, whose byte order may differ
            inherited.add(element)
    for keyword, (sequence, name) in _MACROS.items():
        value = group_value(header, plane.index, (sequence, name))
        if keyword not in inherited and not _is_empty(value):
            setattr(inherited, keyword, _as_classic(keyword, value))
    if "FrameOfReferenceUID" not in inherited:
        inherited.FrameOfReferenceUID = generate_uid(
            entropy_srcs=[str(header.SeriesInstanceUID), "frame of reference"]
        )
    if float(inherited.get("InversionTime") or 0) == 0 and "InversionTime" in inherited:
        del inherited.InversionTime  # some scanners write 0 for scans without inversion
    return inherited


def _is_empty(value: Any) -> bool:
    return value is None or (hasattr(value, "__len__") and len(value) == 0)


def _as_classic(keyword: str, value: Any) -> Any:
    """Return a float of a functional group as the decimal or integer string of a classic image."""
    from pydicom.datadict import dictionary_VR
    from pydicom.valuerep import DSfloat

    kind = dictionary_VR(keyword)
    if kind == "DS":
        return DSfloat(float(value), auto_format=True)
    return round(float(value)) if kind == "IS" else value
