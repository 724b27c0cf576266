// Drives an official TypeScript MCP client by a list of steps, so that the tests
// can say in Go what a real client does and sees.
//
//   node client.mjs sdk|legacy|modern|auto URL TOKEN < steps.json > answers.json
//
// sdk is @modelcontextprotocol/sdk (2025-11-25); legacy and modern are
// @modelcontextprotocol/client without and with 2026-07-28, and auto is the same
// client where it finds that out itself. In the place of a URL there may be the
// command of a stdio server, as a JSON array.
import { existsSync, writeFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

const [generation, url, token] = process.argv.slice(2);
const steps = JSON.parse(await text(process.stdin));
const requestInit = { headers: { Authorization: `Bearer ${token}` } };
const identity = { name: 'acceptance', version: '1' };

let changes = 0;
const options = { capabilities: {} };
if (steps.some((s) => s.op === 'changed')) options.listChanged = { tools: { autoRefresh: false, debounceMs: 0, onChanged: () => changes++ } };

let client, transport, LoggingSchema;
const connection = (Http, Stdio) => {
  if (!url.startsWith('[')) return new Http(new URL(url), { requestInit });
  const [command, ...args] = JSON.parse(url);
  return new Stdio({ command, args, env: process.env, stderr: 'inherit' });
};
if (generation === 'sdk') {
  const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
  const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
  const { StdioClientTransport } = await import('@modelcontextprotocol/sdk/client/stdio.js');
  const { LoggingMessageNotificationSchema } = await import('@modelcontextprotocol/sdk/types.js');
  client = new Client(identity, options);
  transport = connection(StreamableHTTPClientTransport, StdioClientTransport);
  LoggingSchema = LoggingMessageNotificationSchema;
} else {
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
  const { StdioClientTransport } = await import('@modelcontextprotocol/client/stdio');
  if (generation === 'modern') options.versionNegotiation = { mode: { pin: '2026-07-28' } };
  if (generation === 'auto') options.versionNegotiation = { mode: 'auto' };
  client = new Client(identity, options);
  transport = connection(StreamableHTTPClientTransport, StdioClientTransport);
}

const logs = [];
const onLog = (n) => logs.push(n.params);
if (LoggingSchema) client.setNotificationHandler(LoggingSchema, onLog);
else client.setNotificationHandler('notifications/message', onLog);

const answers = [];
try {
  await client.connect(transport);
  answers.push({ op: 'connect', version: client.getNegotiatedProtocolVersion?.(), server: client.getServerVersion(), capabilities: client.getServerCapabilities(), instructions: client.getInstructions() });
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
      else if (op === 'changed') { // waits until it hears that the tools changed
        while (changes === 0) await sleep(5);
        changes = 0;
      } else if (op === 'meet') { // says by a file that it is here, and waits for another
        writeFileSync(params.here, '');
        while (!existsSync(params.there)) await sleep(5);
      } else if (op === 'ping') answer.result = await client.ping();
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
