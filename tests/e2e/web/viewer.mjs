// A viewer made of Foxglove's own client: looks at two topics, asks for a parameter, saves, and prints what it was told.
// Usage: node viewer.mjs ws://ADDRESS
import { createRequire } from "node:module";
import WebSocket from "ws";

const { FoxgloveClient } = createRequire(import.meta.url)("@foxglove/ws-protocol");
const client = new FoxgloveClient({ ws: new WebSocket(process.argv[2], [FoxgloveClient.SUPPORTED_SUBPROTOCOL]) });
const seen = { messages: {} };
const topics = new Map();

client.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
client.on("serverInfo", (info) => {
  seen.server = info.name;
  client.getParameters(["tapeloop.device"], "1");
});
client.on("advertise", (channels) => {
  for (const channel of channels.filter(({ topic }) => topic === "/imu" || topic === "/map")) {
    topics.set(client.subscribe(channel.id), channel.topic);
  }
});
client.on("message", ({ subscriptionId, timestamp, data }) => {
  const text = new TextDecoder().decode(data);
  seen.messages[topics.get(subscriptionId)] = { logTime: timestamp.toString(), text };
  finish();
});
client.on("parameterValues", ({ parameters }) => {
  seen.parameters = parameters;
  finish();
});
client.on("advertiseServices", (services) => {
  const save = services.find(({ name }) => name === "/tapeloop/save");
  if (save) {
    const request = new TextEncoder().encode(JSON.stringify({ before: "1 h", why: "seen in a viewer" }));
    client.sendServiceCallRequest({ serviceId: save.id, callId: 7, encoding: "json", data: new DataView(request.buffer) });
  }
});
client.on("serviceCallResponse", ({ callId, data }) => {
  seen.saved = { callId, ...JSON.parse(new TextDecoder().decode(data)) };
  finish();
});
client.on("serviceCallFailure", ({ message }) => {
  console.error(message);
  process.exit(1);
});

function finish() {
  if (seen.saved && seen.parameters && seen.messages["/imu"] && seen.messages["/map"]) {
    console.log(JSON.stringify(seen));
    process.exit(0);
  }
}
