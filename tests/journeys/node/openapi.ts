// A client typed by openapi-typescript; prints what it saw as one JSON document.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: { env: Record<string, string> };

const { WHARF_URL, WHARF_API_KEY, REGISTRY_URL, REGISTRY_USER, REGISTRY_PASSWORD } = process.env;
const client = createClient<paths>({
  baseUrl: WHARF_URL,
  headers: { "x-api-key": WHARF_API_KEY },
});
const input: components["schemas"]["RegistryCreateInput"] = {
  registryName: "by OpenAPI",
  registryUrl: REGISTRY_URL,
  username: REGISTRY_USER,
  password: REGISTRY_PASSWORD,
  registryType: "cloud",
};

const { data: created } = await client.POST("/api/registry.create", { body: input });
if (!created) throw new Error("nothing was created");
const chosen = { registryId: created.registryId };

const { data: listed } = await client.GET("/api/registry.all");
const { data: one } = await client.GET("/api/registry.one", { params: { query: chosen } });
const { error: refused, response } = await client.POST("/api/registry.update", {
  body: { ...chosen, username: "somebody else" },
});
const { data: accepted, response: started } = await client.POST("/api/registry.testRegistryById", {
  params: { header: { Prefer: "respond-async" } },
  body: chosen,
});
const { data: removed } = await client.POST("/api/registry.remove", { body: chosen });

const cause: components["schemas"]["ErrorCause"] | null | undefined = refused?.data.cause;
console.log(
  JSON.stringify({
    created,
    listed: listed?.map((registry) => registry.registryId),
    one,
    code: cause?.code,
    status: response.status,
    accepted,
    started: started.status,
    removed,
  }),
);
