"""The forms in which a server sends what it knows: protobuf, OpenAPI, discovery."""
