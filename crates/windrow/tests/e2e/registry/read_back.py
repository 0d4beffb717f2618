# Values as Confluent's own deserializer reads them: `python3 read_back.py URL KEY:SECRET TOPIC avro|json` takes bytes in hex, one a line, and
# prints what they are, one JSON object a line.
import json, sys

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.serialization import MessageField, SerializationContext

url, auth, topic, language = sys.argv[1:]
registry = SchemaRegistryClient({"url": url, "basic.auth.user.info": auth})
if language == "avro":
    from confluent_kafka.schema_registry.avro import AvroDeserializer

    read = AvroDeserializer(registry)
else:
    from confluent_kafka.schema_registry.json_schema import JSONDeserializer

    read = JSONDeserializer(None, schema_registry_client=registry)
for line in sys.stdin:
    value = read(bytes.fromhex(line.strip()), SerializationContext(topic, MessageField.VALUE))
    print(json.dumps(value, default=lambda other: int(other.timestamp() * 1000)))
