# Keys and values as Confluent's own serializer frames them: `python3 confluent.py URL KEY:SECRET` registers the schemas it needs
# and prints one record a line, {"topic", "key", "value"}, bytes in hex.
import json, sys

from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

url, auth = sys.argv[1:]
registry = SchemaRegistryClient({"url": url, "basic.auth.user.info": auth})


def record(*fields, name="record"):
    return json.dumps({"type": "record", "name": name, "fields": list(fields)})


def serializer(schema):
    return AvroSerializer(registry, schema, conf={"subject.name.strategy": topic_subject_name_strategy})


KEYS = {ty: serializer(record({"name": "organization_id", "type": ty})) for ty in ("long", "int")}
RESERVATION = {"name": "reservation_id", "type": ["null", "string"], "default": None}
PLAIN = serializer(record(RESERVATION))

# A later version names a type of another subject.
GUEST = record({"name": "name", "type": "string"}, name="Guest")
registry.register_schema("guest", Schema(GUEST, "AVRO"))
NAMED = serializer(Schema(record({"name": "guest", "type": "Guest"}, RESERVATION), "AVRO", [SchemaReference("Guest", "guest", 1)]))


def emit(topic, key, organization, value, of):
    field = lambda field: SerializationContext(topic, field)
    key = KEYS[key]({"organization_id": organization}, field(MessageField.KEY))
    value = None if value is None else of(value, field(MessageField.VALUE))
    print(json.dumps({"topic": topic, "key": key.hex(), "value": value and value.hex()}))


emit("payment", "long", 1, {"reservation_id": "a"}, PLAIN)
emit("reservation", "int", 1, {"reservation_id": None}, PLAIN)
emit("payment", "long", 2**40, {"reservation_id": "b"}, PLAIN)
emit("payment", "long", 1, {"guest": {"name": "Ada"}, "reservation_id": "c"}, NAMED)
