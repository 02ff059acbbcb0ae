// A function as AWS Lambda runs them behind a function URL: the structured event
// is the body of its payload, and the answer is an event again. It has no
// dependencies.
//
// By itself it serves what a function URL would pass on:
//
//   PORT=8082 node configs/functions/node/index.mjs

import { createServer } from "node:http";
import { argv, env } from "node:process";
import { pathToFileURL } from "node:url";

export const handler = async (payload) => {
  const body = payload.isBase64Encoded ? Buffer.from(payload.body, "base64").toString() : payload.body;
  let event;
  try {
    event = JSON.parse(body);
  } catch {
    return { statusCode: 400, body: "not an event" };
  }
  if (typeof event?.data?.of !== "string") {
    return { statusCode: 400, body: "want a thumbnail" }; // which makes it a dead letter
  }
  return {
    statusCode: 200,
    headers: { "content-type": "application/cloudevents+json" },
    body: JSON.stringify({
      specversion: "1.0",
      id: `${event.id}-caption`, // a repeat makes the same event again
      source: "/functions/caption",
      type: "com.example.caption.written",
      datacontenttype: "application/json",
      data: { photo: event.data.of, caption: `A small picture of ${event.data.of.replace(/[.][^.]*$/, "")}` },
    }),
  };
};

// Run by itself, it stands in for the platform.
if (argv[1] && import.meta.url === pathToFileURL(argv[1]).href) {
  createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", async () => {
      const answer = await handler({ headers: request.headers, body: Buffer.concat(parts).toString(), isBase64Encoded: false });
      response.writeHead(answer.statusCode, answer.headers ?? { "content-type": "text/plain" });
      response.end(answer.body);
    });
  }).listen(Number(env.PORT ?? 8082), env.HOST ?? "127.0.0.1");
}
