"""Coded concepts of the objects, from the dictionaries of DICOM where these have the concept."""

from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes

SCHEME = "99LITS"
"""Of codes that no dictionary has."""

ANATOMICAL_STRUCTURE = CodedConcept("123037004", "SCT", "Anatomical Structure")
ALTERED_STRUCTURE = CodedConcept("49755003", "SCT", "Morphologically Altered Structure")
LIVER = CodedConcept("10200004", "SCT", "Liver")
LESIONS = {
    "lesion": CodedConcept("52988006", "SCT", "Lesion"),
    "neoplasm": CodedConcept("108369006", "SCT", "Neoplasm"),
}
"""By `ObjectOptions.lesion_code`."""

ARTIFICIAL_INTELLIGENCE = codes.DCM.ArtificialIntelligence
COMMENT = codes.DCM.Comment
CT = codes.LN.CTUnspecifiedBodyRegion
MEASUREMENT_REPORT = codes.DCM.ImagingMeasurementReport
PROCESSING_EQUIPMENT = codes.DCM.ProcessingEquipment
SUM_OF_VOXELS = codes.DCM.SumOfSegmentedVoxelMethodForVolume

ATTENUATION = codes.DCM.AttenuationCoefficient
LONGEST_AXIS = codes.SCT.LongAxis
MEAN = codes.SCT.Mean
VOLUME = codes.SCT.Volume
BURDEN = CodedConcept("BURDEN", SCHEME, "Lesion volume over liver volume")
LESION_COUNT = CodedConcept("LESIONS", SCHEME, "Number of lesions")
LESION_VOLUME = CodedConcept("LESIONVOLUME", SCHEME, "Volume of all lesions")
PROBABILITY = CodedConcept("PROBABILITY", SCHEME, "Probability of the lesion class")

CUBIC_CENTIMETRE = codes.UCUM.CubicCentimeter
HOUNSFIELD = codes.UCUM.HounsfieldUnit
MILLIMETRE = codes.UCUM.Millimeter
PERCENT = codes.UCUM.Percent
NO_UNITS = codes.UCUM.NoUnits
