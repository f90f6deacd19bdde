// Calls a Hanse service with the generated client of DnsService: what it prints is for the test to compare.
import { readFileSync } from "node:fs";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { DnsService } from "./generated/hanse/api/dns/v1/dns_service_pb.js";
import { AnswerScope } from "./generated/hanse/api/dns/v1/record_set_pb.js";

const [address, ca, cert, key] = process.argv.slice(2).map(String);
const transport = createGrpcTransport({
  baseUrl: `https://${address}`,
  nodeOptions: { ca: readFileSync(ca), cert: readFileSync(cert), key: readFileSync(key) },
  defaultTimeoutMs: 20_000,
});
const client = createClient(DnsService, transport);

const listed = await client.listRecordSets({
  parent: "zones/example.org",
  filter: 'scope = GLOBAL AND service.name = "web"',
});
for (const record of listed.recordSets) {
  console.log(record.name, AnswerScope[record.scope], record.endpoints[0].address);
}
try {
  await client.getZone({ name: "zones/example.com" });
} catch (error) {
  const refused = ConnectError.from(error);
  console.log(Code[refused.code], refused.rawMessage);
}
