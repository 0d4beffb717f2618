# Values as Confluent's own deserializer reads them: `python3 read_back.py URL KEY:SECRET TOPIC` takes bytes in hex, one a line, and
# prints what they are, one JSON object a line.
import json, sys

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

url, auth, topic = sys.argv[1:]
read = AvroDeserializer(SchemaRegistryClient({"url": url, "basic.auth.user.info": auth}))
for line in sys.stdin:
    value = read(bytes.fromhex(line.strip()), SerializationContext(topic, MessageField.VALUE))
    print(json.dumps(value, default=lambda other: int(other.timestamp() * 1000)))
