// Drives an official TypeScript MCP client by a list of steps, so that the tests
// can say in Go what a real client does and sees.
//
//   node client.mjs sdk|legacy|modern URL TOKEN < steps.json > answers.json
//
// sdk is @modelcontextprotocol/sdk (2025-11-25); legacy and modern are
// @modelcontextprotocol/client without and with 2026-07-28.
import { text } from 'node:stream/consumers';

const [generation, url, token] = process.argv.slice(2);
const steps = JSON.parse(await text(process.stdin));
const requestInit = { headers: { Authorization: `Bearer ${token}` } };
const identity = { name: 'acceptance', version: '1' };

let client, transport, LoggingSchema;
if (generation === 'sdk') {
  const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
  const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
  const { LoggingMessageNotificationSchema } = await import('@modelcontextprotocol/sdk/types.js');
  client = new Client(identity, { capabilities: {} });
  transport = new StreamableHTTPClientTransport(new URL(url), { requestInit });
  LoggingSchema = LoggingMessageNotificationSchema;
} else {
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
  const options = { capabilities: {} };
  if (generation === 'modern') options.versionNegotiation = { mode: { pin: '2026-07-28' } };
  client = new Client(identity, options);
  transport = new StreamableHTTPClientTransport(new URL(url), { requestInit });
}

const logs = [];
const onLog = (n) => logs.push(n.params);
if (LoggingSchema) client.setNotificationHandler(LoggingSchema, onLog);
else client.setNotificationHandler('notifications/message', onLog);

const answers = [];
try {
  await client.connect(transport);
  answers.push({ op: 'connect', server: client.getServerVersion(), capabilities: client.getServerCapabilities(), instructions: client.getInstructions() });
  for (const { op, params = {}, progress, cancelAfter } of steps) {
    const answer = { op };
    const options = {};
    if (progress) {
      answer.progress = [];
      options.onprogress = (p) => answer.progress.push(p);
    }
    if (cancelAfter) {
      const stop = new AbortController();
      options.signal = stop.signal;
      setTimeout(() => stop.abort('changed my mind'), cancelAfter);
    }
    try {
      if (op === 'callTool' && generation === 'sdk') answer.result = await client.callTool(params, undefined, options);
      else if (op === 'logs') answer.result = logs.splice(0);
      else if (op === 'setLoggingLevel') answer.result = await client.setLoggingLevel(params.level);
      else if (op === 'ping') answer.result = await client.ping();
      else answer.result = await client[op](params, options);
    } catch (e) {
      answer.error = { name: e.constructor.name, code: e.code, message: String(e.message ?? e), data: e.data };
    }
    answers.push(answer);
  }
} catch (e) {
  answers.push({ op: 'connect', error: { name: e.constructor.name, code: e.code, message: String(e.message ?? e) } });
}
console.log(JSON.stringify(answers));
await client.close().catch(() => {});
process.exit(0);
