// An MCP server on the official TypeScript SDK with one tool that does something:
// refund appends a line to the file that it is started with.
//
//   node shop.mjs FILE
import { appendFile } from 'node:fs/promises';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { CallToolRequestSchema, ListToolsRequestSchema } from '@modelcontextprotocol/sdk/types.js';

const server = new Server({ name: 'shop', version: '1.0.0' }, { capabilities: { tools: {} } });
server.setRequestHandler(ListToolsRequestSchema, () => ({
  tools: [{
    name: 'refund',
    description: 'Pay an order back.',
    inputSchema: {
      type: 'object',
      properties: { order: { type: 'string' }, amount: { type: 'number', description: 'in euros' } },
      required: ['order', 'amount'],
    },
  }],
}));
server.setRequestHandler(CallToolRequestSchema, async ({ params }) => {
  await appendFile(process.argv[2], `${params.arguments.order} ${params.arguments.amount}\n`);
  return { content: [{ type: 'text', text: `refunded ${params.arguments.amount}` }] };
});
await server.connect(new StdioServerTransport());
