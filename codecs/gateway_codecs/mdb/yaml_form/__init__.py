"""Our own form of a mission database: concise YAML with a published JSON Schema, read and written.

    mission_database: 1
    name: SOLAR
    header: {pus_c: {time: cuc}}
    packets:
      HK_POWER:
        apid: 100
        type: 3
        subtype: 25
        parameters:
          - VOLTAGE: {bits: 12, polynomial: [0, 0.01], unit: V, limits: {warning: [26, 30], critical: [24, 32]}}
          - {spare_bits: 4}

docs/mission-database.md says the rest. Whatever the model can say is written, and read back as it was.
"""

from gateway_codecs.mdb.yaml_form.reader import read_yaml
from gateway_codecs.mdb.yaml_form.schema import json_schema
from gateway_codecs.mdb.yaml_form.writer import write_yaml

__all__ = ["json_schema", "read_yaml", "write_yaml"]
