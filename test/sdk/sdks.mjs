// sdks.mjs SDK URL TOKEN MODEL STREAMED: has an SDK of a vendor talk with a model: a question,
// the results of the calls that the model asks for, and a reply in a form. It prints what
// the model said, as JSON lines: {text, calls: [{name, args}], stop, in, out}.
import OpenAI from "openai";
import Anthropic from "@anthropic-ai/sdk";
import { GoogleGenAI } from "@google/genai";

const [, , sdk, url, token, model, streamed] = process.argv;
const stream = streamed === "true";
const brief = "be brief";
const question = "how is it in Bern and Basel?";
const city = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const results = ["sunny", "rain"];

const say = (o) => console.log(JSON.stringify(o));

async function openai() {
  const client = new OpenAI({ baseURL: url + "/v1", apiKey: token, maxRetries: 0 });
  const ask = async (messages, more) => {
    const params = { model, messages, ...more };
    const reply = stream
      ? await client.chat.completions.stream({ ...params, stream_options: { include_usage: true } }).finalChatCompletion()
      : await client.chat.completions.create(params);
    const choice = reply.choices[0];
    say({
      text: choice.message.content ?? "", stop: choice.finish_reason, in: reply.usage.prompt_tokens, out: reply.usage.completion_tokens,
      calls: (choice.message.tool_calls ?? []).map((c) => ({ name: c.function.name, args: c.function.arguments })),
    });
    return choice.message;
  };
  const messages = [{ role: "system", content: brief }, { role: "user", content: question }];
  const tools = [{ type: "function", function: { name: "weather", parameters: city } }];
  const first = await ask(messages, { tools });
  await ask([...messages, first, ...first.tool_calls.map((c, i) => ({ role: "tool", tool_call_id: c.id, content: results[i] }))], { tools });
  await ask(messages, { response_format: { type: "json_schema", json_schema: { name: "city", schema: city } } });
}

async function anthropic() {
  const client = new Anthropic({ baseURL: url, apiKey: token, maxRetries: 0 });
  const ask = async (messages, more) => {
    const params = { model, max_tokens: 1024, system: brief, messages, ...more };
    const reply = stream ? await client.messages.stream(params).finalMessage() : await client.messages.create(params);
    say({
      text: reply.content.filter((b) => b.type === "text").map((b) => b.text).join(""), stop: reply.stop_reason,
      in: reply.usage.input_tokens + (reply.usage.cache_read_input_tokens ?? 0), out: reply.usage.output_tokens,
      calls: reply.content.filter((b) => b.type === "tool_use").map((b) => ({ name: b.name, args: JSON.stringify(b.input) })),
    });
    return reply;
  };
  const messages = [{ role: "user", content: question }];
  const tools = [{ name: "weather", input_schema: city }];
  const first = await ask(messages, { tools });
  const answers = first.content.filter((b) => b.type === "tool_use").map((b, i) => ({ type: "tool_result", tool_use_id: b.id, content: results[i] }));
  await ask([...messages, { role: "assistant", content: first.content }, { role: "user", content: answers }], { tools });
  await ask(messages, { output_config: { format: { type: "json_schema", schema: city } } });
}

async function google() {
  const client = new GoogleGenAI({ apiKey: token, httpOptions: { baseUrl: url } });
  const ask = async (contents, more) => {
    const params = { model, contents, config: { systemInstruction: brief, ...more } };
    const replies = [];
    if (stream) {
      for await (const r of await client.models.generateContentStream(params)) replies.push(r);
    } else {
      replies.push(await client.models.generateContent(params));
    }
    const parts = replies.flatMap((r) => r.candidates?.[0]?.content?.parts ?? []);
    const usage = replies.at(-1).usageMetadata;
    say({
      text: parts.map((p) => p.text ?? "").join(""), stop: replies.at(-1).candidates[0].finishReason, in: usage.promptTokenCount, out: usage.candidatesTokenCount,
      calls: parts.filter((p) => p.functionCall).map((p) => ({ name: p.functionCall.name, args: JSON.stringify(p.functionCall.args) })),
    });
    return parts;
  };
  const contents = [{ role: "user", parts: [{ text: question }] }];
  const tools = [{ functionDeclarations: [{ name: "weather", parametersJsonSchema: city }] }];
  const first = await ask(contents, { tools });
  const answers = first.filter((p) => p.functionCall).map((p, i) => ({ functionResponse: { id: p.functionCall.id, name: p.functionCall.name, response: { output: results[i] } } }));
  await ask([...contents, { role: "model", parts: first }, { role: "user", parts: answers }], { tools });
  await ask(contents, { responseMimeType: "application/json", responseJsonSchema: city });
}

await { openai, anthropic, google }[sdk]();
