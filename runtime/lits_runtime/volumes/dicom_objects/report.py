"""DICOM structured reports: measurements of liver and lesions (TID 1500, Comprehensive SR)."""

from typing import Any, TypeAlias

import numpy as np
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    ReferencedSegment,
    SourceImageForMeasurement,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes

from lits_runtime.volumes.dicom.series import Series
from lits_runtime.volumes.dicom_objects import codes as our
from lits_runtime.volumes.dicom_objects.facts import (
    MANUFACTURER,
    Algorithm,
    Figures,
    LesionFigures,
    ObjectOptions,
)
from lits_runtime.volumes.dicom_objects.identity import Identity, as_stored, derived_uid
from lits_runtime.volumes.dicom_objects.seg import source_references
from lits_runtime.volumes.dicom_objects.segments import number_lesions

_Group: TypeAlias = VolumetricROIMeasurementsAndQualitativeEvaluations
_DECIMALS = 6


def make_sr(
    series: Series,
    labels: NDArray[np.uint8],
    seg: Dataset | None,
    figures: Figures,
    algorithm: Algorithm,
    options: ObjectOptions,
) -> Dataset:
    """A report of a series and its segmentation: a summary, the liver, then each lesion.

    Args:
        series: that was segmented.
        labels: (k, j, i), from which `seg` was made.
        seg: of `make_seg`, with the same options; the groups refer to its segments.
        figures: what was measured.
        algorithm: that made the labels.
        options: of the segmentation.

    Raises:
        VolumeError: a file of the series has changed.
    """
    identity = Identity.of(series, "SR", algorithm, options)
    series = identity.series
    evidence = _evidence(series, identity)
    with as_stored():
        groups: list[_Group] = []
        if seg is not None:
            groups = _Groups(series, labels, seg, identity, options).all(figures)
        sr = ComprehensiveSR(
            evidence=[*evidence, *([seg] if seg is not None else [])],
            content=_content(identity, figures, groups),
            sop_instance_uid=identity.uid(repr(figures), seg.SOPInstanceUID if seg else None),
            instance_number=1,
            is_complete=True,
            coding_schemes=[
                CodingSchemeIdentificationItem(our.SCHEME, name=f"Codes of {MANUFACTURER}")
            ],
            **identity.arguments("Liver and lesions: measurements"),
        )
        identity.settle(sr)
    return sr


def _content(identity: Identity, figures: Figures, groups: list[_Group]) -> Any:
    return MeasurementReport(
        observation_context=_observer(identity.algorithm),
        procedure_reported=our.CT,
        imaging_measurements=[_summary(identity, figures), *groups],
        title=our.MEASUREMENT_REPORT,
    )[0]


def _evidence(series: Series, identity: Identity) -> list[Dataset]:
    """The source objects, as far as a report needs them."""
    evidence: list[Dataset] = []
    for reference in source_references(series):
        one = Dataset() if evidence else identity.header
        one.StudyInstanceUID, one.SeriesInstanceUID = series.study_uid, series.uid
        one.SOPClassUID = reference.ReferencedSOPClassUID
        one.SOPInstanceUID = reference.ReferencedSOPInstanceUID
        evidence.append(one)
    return evidence


def _observer(algorithm: Algorithm) -> ObservationContext:
    device = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", algorithm),
        name=algorithm.name,
        manufacturer_name=MANUFACTURER,
        model_name=algorithm.version,
        serial_number=algorithm.model_sha256,
    )
    return ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device))


def _summary(identity: Identity, figures: Figures) -> MeasurementsAndQualitativeEvaluations:
    """Volumes, tumour burden and number of lesions, with the warnings as comments."""
    measurements = [Measurement(our.LESION_COUNT, figures.lesion_count, our.NO_UNITS)]
    if "liver" in figures.volumes_ml:
        measurements.append(_volume(figures.volumes_ml["liver"]))
    if "lesion" in figures.volumes_ml:
        measurements.append(_volume(figures.volumes_ml["lesion"], our.LESION_VOLUME))
    if figures.tumour_burden_percent is not None:
        burden = round(figures.tumour_burden_percent, _DECIMALS)
        measurements.append(Measurement(our.BURDEN, burden, our.PERCENT))
    summary = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(identity.uid("summary"), "Summary"),
        finding_type=our.LIVER,
        measurements=measurements,
    )
    told = [f"Warning: {warning}" for warning in figures.warnings]
    if identity.missing:
        names = ", ".join(identity.missing)
        told.append(f"The source has no UID of its {names}: derived ones take their place")
    if figures.lesion_count > len(figures.lesions):
        told.append(f"Only the largest {len(figures.lesions)} lesions are listed")
    for text in told:
        summary[0].ContentSequence.append(
            TextContentItem(our.COMMENT, text, relationship_type="CONTAINS")
        )
    return summary


def _volume(
    volume_ml: float,
    name: Any = our.VOLUME,
    images: list[SourceImageForMeasurement] | None = None,
) -> Measurement:
    value = round(volume_ml, _DECIMALS)
    return Measurement(
        name,
        value,
        our.CUBIC_CENTIMETRE,
        method=our.SUM_OF_VOXELS,
        referenced_images=images or None,
    )


class _Groups:
    """The measurement groups of what was segmented."""

    def __init__(
        self,
        series: Series,
        labels: NDArray[np.uint8],
        seg: Dataset,
        identity: Identity,
        options: ObjectOptions,
    ) -> None:
        self._series, self._seg, self._options = series, seg, options
        self._lesions = number_lesions(labels, series.geometry)
        self._identity = identity
        self._descriptions = list(seg.SegmentSequence)
        self._of_lesions = [
            number for number, one in enumerate(self._descriptions, 1) if not _is_liver(one)
        ]

    def all(self, figures: Figures) -> list[_Group]:
        """The liver, then lesions, largest first; none for what has no voxel."""
        groups = []
        liver_ml = figures.volumes_ml.get("liver")
        if liver_ml is not None and 1 not in self._of_lesions:
            name, uid = "Liver, lesions included", self._descriptions[0].TrackingUID
            groups.append(self._group(1, uid, name, [_volume(liver_ml)]))
        lesions = figures.lesions if self._of_lesions else ()
        return groups + [self._lesion(number, one) for number, one in enumerate(lesions, 1)]

    def _lesion(self, number: int, lesion: LesionFigures) -> _Group:
        segment = self._of_lesions[min(number, len(self._of_lesions)) - 1]
        uid = self._identity.uid("lesion", number)
        if self._descriptions[segment - 1].SegmentLabel == f"Lesion {number}":
            uid = self._descriptions[segment - 1].TrackingUID
        measurements = [
            _volume(lesion.volume_ml, images=self._images(number)),
            _figure(our.LONGEST_AXIS, lesion.longest_axial_diameter_mm, our.MILLIMETRE),
            _figure(our.ATTENUATION, lesion.mean_hu, our.HOUNSFIELD),
        ]
        if lesion.mean_probability is not None:
            chance = lesion.mean_probability
            measurements.append(_figure(our.PROBABILITY, chance, our.NO_UNITS))
        return self._group(segment, uid, f"Lesion {number}", measurements)

    def _images(self, number: int) -> list[SourceImageForMeasurement]:
        """The images that a lesion is in, which tell it from others of its segment."""
        slices = [self._series.slices[k] for k in self._lesions.slices_of(number)]
        return [
            SourceImageForMeasurement(
                one.sop_class_uid,
                one.sop_instance_uid,
                referenced_frame_numbers=None if one.frame is None else [one.frame + 1],
            )
            for one in slices
            if not one.filled
        ]

    def _group(
        self, segment: int, tracking_uid: str, name: str, measurements: list[Measurement]
    ) -> _Group:
        liver = segment not in self._of_lesions
        algorithm = self._identity.algorithm
        return _Group(
            tracking_identifier=TrackingIdentifier(tracking_uid, name),
            referenced_segment=ReferencedSegment(
                self._seg.SOPClassUID,
                self._seg.SOPInstanceUID,
                segment,
                source_series=SourceSeriesForSegmentation(self._series.uid),
            ),
            finding_type=our.LIVER if liver else our.LESIONS[self._options.lesion_code],
            finding_category=our.ANATOMICAL_STRUCTURE if liver else our.ALTERED_STRUCTURE,
            finding_sites=None if liver else [FindingSite(our.LIVER)],
            algorithm_id=AlgorithmIdentification(
                name=algorithm.name,
                version=algorithm.version,
                parameters=[f"model SHA-256 {algorithm.model_sha256}"],
            ),
            measurements=measurements,
        )


def _is_liver(description: Dataset) -> bool:
    kind = description.SegmentedPropertyTypeCodeSequence[0]
    return bool(kind.CodeValue == our.LIVER.value)


def _figure(name: Any, value: float, unit: Any) -> Measurement:
    derivation = None if name == our.LONGEST_AXIS else our.MEAN
    return Measurement(name, round(value, _DECIMALS), unit, derivation=derivation)
