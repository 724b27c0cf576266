// An MCP client of one of the two official TypeScript SDKs, with the SDK's own OAuth
// client: it registers, sends a person to the gate, and then lists and calls tools.
//
//   node login.mjs SDK MCP-URL REDIRECT-URI
//
// It prints {"go": URL} where a person must go, reads the code that came back as one
// line, and prints {"tools": […], "text": …} at the end, or {"error": …}.
import { createInterface } from 'node:readline/promises'

const [sdk, url, redirect] = process.argv.slice(2)
const { Client, Transport, Unauthorized } = await load(sdk)

async function load(sdk) {
  if (sdk === 'v2') {
    const m = await import('@modelcontextprotocol/client')
    return { Client: m.Client, Transport: m.StreamableHTTPClientTransport, Unauthorized: m.UnauthorizedError }
  }
  const [client, http, auth] = await Promise.all([
    import('@modelcontextprotocol/sdk/client/index.js'), import('@modelcontextprotocol/sdk/client/streamableHttp.js'), import('@modelcontextprotocol/sdk/client/auth.js')])
  return { Client: client.Client, Transport: http.StreamableHTTPClientTransport, Unauthorized: auth.UnauthorizedError }
}

const kept = {}
const provider = {
  get redirectUrl() { return redirect },
  get clientMetadata() {
    return { client_name: 'SDK ' + sdk, redirect_uris: [redirect], grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], token_endpoint_auth_method: 'none' }
  },
  state: () => 'state-of-the-sdk',
  clientInformation: () => kept.client,
  saveClientInformation: c => { kept.client = c },
  tokens: () => kept.tokens,
  saveTokens: t => { kept.tokens = t },
  redirectToAuthorization: u => console.log(JSON.stringify({ go: String(u) })),
  saveCodeVerifier: v => { kept.verifier = v },
  codeVerifier: () => kept.verifier,
  saveDiscoveryState: s => { kept.discovery = s },
  discoveryState: () => kept.discovery,
}

try {
  const first = new Transport(new URL(url), { authProvider: provider })
  try {
    await new Client({ name: 'login', version: '1' }).connect(first)
    throw new Error('let in without a login')
  } catch (e) {
    if (!(e instanceof Unauthorized)) throw e
  }
  const lines = createInterface({ input: process.stdin })
  const back = new URLSearchParams(await lines.question(''))
  lines.close()
  await first.finishAuth(back.get('code'), back.get('iss') ?? undefined)
  const client = new Client({ name: 'login', version: '1' })
  await client.connect(new Transport(new URL(url), { authProvider: provider }))
  const { tools } = await client.listTools()
  const refreshed = kept.tokens
  kept.tokens = { ...kept.tokens, access_token: 'expired' } // the SDK refreshes by itself
  const got = await client.callTool({ name: tools[0].name, arguments: { order: 'A7', amount: 5 } })
  console.log(JSON.stringify({ tools: tools.map(t => t.name), text: got.content[0].text, renewed: kept.tokens.access_token !== 'expired' && kept.tokens.refresh_token !== refreshed.refresh_token }))
  await client.close()
} catch (e) {
  console.log(JSON.stringify({ error: String(e?.stack ?? e) }))
}
process.exit(0)
