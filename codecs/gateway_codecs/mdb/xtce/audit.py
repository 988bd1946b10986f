"""Tells of everything in an XTCE file that nobody asked for, so that nothing is dropped in silence."""

from __future__ import annotations

from collections import Counter

from gateway_codecs.mdb.xtce.elements import Document, Element
from gateway_codecs.mdb.xtce.remarks import Remarks

_WHY = {
    "MetaCommandSet": "telecommand definitions are not read",
    "ArgumentTypeSet": "telecommand definitions are not read",
    "CommandContainerSet": "telecommand definitions are not read",
    "StreamSet": "streams of frames are configured with the link",
    "ServiceSet": "services are not read",
    "MessageSet": "messages are not read: packets are recognised by their containers",
    "AncillaryDataSet": "notes of other tools",
    "PhysicalAddressSet": "addresses on board are not used",
    "SystemName": "not used",
    "TimeAssociation": "samples have the time of their packet",
    "ErrorDetectCorrect": "checksums are checked where frames and packets come in, not here",
    "DefaultRateInStream": "rates are not checked",
    "RateInStreamSet": "rates are not checked",
    "SizeRangeInCharacters": "the length of texts is not checked",
    "include": "XInclude: no other file is read; put its content here",
    "AliasSet": "other names are read of parameters only",
    "LongDescription": "descriptions are read of systems, types, parameters and containers only",
}
_HEADER = "only the version is read of the header"
_KNOWN_ATTRIBUTES = frozenset({
    "name", "shortDescription", "baseType", "parameterTypeRef", "typeRef", "arrayTypeRef", "numberOfDimensions",
    "parameterRef", "containerRef", "streamRef", "outputParameterRef", "href", "abstract", "signed", "sizeInBits",
    "encoding", "byteOrder", "byteSignificance", "bitOrder", "initialValue", "zeroStringValue", "oneStringValue",
    "value", "maxValue", "label", "comparisonOperator", "useCalibratedValue", "instance", "slope", "intercept",
    "referenceLocation", "sizeInBitsOfSizeTag", "maxSizeInBits", "coefficient", "exponent", "order", "extrapolate",
    "raw", "calibrated", "scale", "offset", "units", "minInclusive", "maxInclusive", "minExclusive", "maxExclusive",
    "validRangeAppliesToCalibrated", "rangeAppliesToCalibrated", "rangeForm", "level", "minViolations",
    "minConformance", "defaultAlarmLevel", "enumerationLabel", "enumerationValue", "alarmLevel", "matchPattern",
    "changeType", "changeBasis", "spanOfInterestInSamples", "dataSource", "alias", "power", "factor", "binaryValue",
    "maximumFractionDigits", "version",
})  # fmt: skip
_WHY_ATTRIBUTES = {
    "changeThreshold": "every sample counts",
    "readOnly": "parameters of telemetry are never set",
    "persistence": "the last value is always kept",
    "nameSpace": "other names are searched whatever their name space is",
    "description": "descriptions of units are not read",
    "spanOfInterestInSeconds": "changes are checked from sample to sample",
}


def audit(document: Document, remarks: Remarks) -> None:
    """Add a remark for each element and attribute that was not read; those of one kind are told once."""
    if not document.namespace:
        remarks.wrong("SpaceSystem", "no namespace of XTCE is named; the elements are taken by their names",
                      document.root.line)  # fmt: skip
    work = [document.root]
    while work:
        element = work.pop()
        _attributes(element, remarks)
        for child in element.children:
            if child.within is not None:
                _not_kept(child, element, remarks)
            elif not child.used:
                why = _WHY.get(child.name, "not read here")
                remarks.grouped(f"{child.name} in {element.name}", why, child.line)
            else:
                work.append(child)


def _not_kept(child: Element, parent: Element, remarks: Remarks) -> None:
    within: Counter[str] = child.within or Counter()
    told = ", ".join(f"{count} {name}" for name, count in sorted(within.items()) if name in _TOLD)
    if child.name == "Header":
        if within:
            remarks.grouped("Header", _HEADER, child.line)
        return
    why = _WHY.get(child.name, "not read here")
    remarks.grouped(f"{child.name} in {parent.name}{': ' if told else ''}{told}", why, child.line)


_TOLD = frozenset({"MetaCommand", "CommandContainer", "Message", "Service", "FixedFrameStream", "VariableFrameStream",
                   "CustomStream"})  # fmt: skip


def _attributes(element: Element, remarks: Remarks) -> None:
    for name in element.attributes:
        if name in _KNOWN_ATTRIBUTES or ":" in name or name == "xmlns":
            continue
        why = _WHY_ATTRIBUTES.get(name, "not read")
        remarks.grouped(f"attribute {name} of {element.name}", why, element.line)
