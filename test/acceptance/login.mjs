// Has an official TypeScript MCP client log in to a server that wants OAuth, with
// nothing but its address, and call a tool.
//
//   node login.mjs sdk|client URL TOOL [CLIENT_ID [CLIENT_SECRET]]
//
// sdk is @modelcontextprotocol/sdk, client is @modelcontextprotocol/client. Without a
// CLIENT_ID it registers itself. It says on stdout where a person has to go, as the
// first line, and waits there for the browser; the second line is JSON: what the tool
// answered, how it registered, and what a renewed token was good for.
import { createServer } from 'node:http';

const [generation, url, tool, id, secret] = process.argv.slice(2);
let lib, auth;
if (generation === 'sdk') {
  lib = { ...(await import('@modelcontextprotocol/sdk/client/index.js')), ...(await import('@modelcontextprotocol/sdk/client/streamableHttp.js')) };
  auth = await import('@modelcontextprotocol/sdk/client/auth.js');
} else {
  lib = auth = await import('@modelcontextprotocol/client');
}

let came;
const back = new Promise((resolve) => (came = resolve));
const app = createServer((req, res) => {
  res.end('You can close this page.');
  came(new URL(req.url, 'http://127.0.0.1').searchParams);
});
await new Promise((resolve) => app.listen(0, '127.0.0.1', resolve));
const redirect = `http://127.0.0.1:${app.address().port}/callback`;

const kept = { client: id && { client_id: id, client_secret: secret } };
const provider = {
  redirectUrl: redirect,
  clientMetadata: { client_name: `${generation} of npm`, redirect_uris: [redirect], grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], token_endpoint_auth_method: secret ? 'client_secret_post' : 'none' },
  state: () => 'a state',
  clientInformation: () => kept.client,
  saveClientInformation: (c) => (kept.client = c),
  tokens: () => kept.tokens,
  saveTokens: (t) => (kept.tokens = t),
  redirectToAuthorization: (u) => console.log(String(u)),
  saveCodeVerifier: (v) => (kept.verifier = v),
  codeVerifier: () => kept.verifier,
  saveDiscoveryState: (d) => (kept.discovery = d),
  discoveryState: () => kept.discovery,
};

const connect = async () => {
  const client = new lib.Client({ name: 'login', version: '1' }, { capabilities: {} });
  const transport = new lib.StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
  try {
    await client.connect(transport);
  } catch (e) {
    return { transport, error: e };
  }
  const result = await client.callTool({ name: tool, arguments: { message: 'hello' } });
  await client.close();
  return { result };
};

const first = await connect();
if (!(first.error instanceof auth.UnauthorizedError)) throw first.error ?? new Error('it was let in without a login');
const q = await back;
if (q.get('state') !== 'a state') throw new Error(`state ${q.get('state')}`);
await first.transport.finishAuth(generation === 'sdk' ? q.get('code') : q);
const second = await connect();
if (second.error) throw second.error;

const old = kept.tokens;
kept.tokens = { ...old, access_token: 'ended' }; // it must renew it by itself
const third = await connect();
if (third.error) throw third.error;
console.log(JSON.stringify({ client: kept.client, answers: [second.result, third.result], rotated: kept.tokens.refresh_token !== old.refresh_token, iss: q.get('iss') }));
app.close();
process.exit(0);
