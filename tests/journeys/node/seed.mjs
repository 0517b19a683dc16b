// The seed document's complete workflow, with its missing `.json()` added; of its two helpers, which
// it does not show, each is one request.
const address = process.env.WHARF_URL;

// 1. Create registry
const registry = await fetch(`${address}/api/trpc/registry.create`, {
  method: "POST",
  headers: {
    "Content-Type": "application/json",
    "x-api-key": process.env.API_KEY,
  },
  body: JSON.stringify({
    registryName: "Docker Hub Production",
    registryUrl: process.env.REGISTRY_URL,
    username: process.env.REGISTRY_USER,
    password: process.env.DOCKER_HUB_TOKEN,
    registryType: "cloud",
    imagePrefix: "mycompany/",
  }),
}).then((answer) => answer.json());

// 2. Test registry
const tested = await fetch(`${address}/api/trpc/registry.testRegistryById`, {
  method: "POST",
  headers: {
    "Content-Type": "application/json",
    "x-api-key": process.env.API_KEY,
  },
  body: JSON.stringify({
    registryId: registry.registryId,
  }),
}).then((answer) => answer.json());

const createApplication = (settings) => call("application.create", settings);
const deployApplication = (applicationId) => call("application.deploy", { applicationId });

// 3. Use in application
const application = await createApplication({
  name: "My App",
  registryId: registry.registryId, // Pull from this registry
  buildRegistryId: registry.registryId, // Push to this registry
  ...JSON.parse(process.env.OTHER_CONFIG),
});

// 4. Build and push
const deployment = await deployApplication(application.applicationId);

console.log(JSON.stringify({ registry, tested, application, deployment }));

async function call(procedure, body) {
  const answer = await fetch(`${address}/api/trpc/${procedure}`, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "x-api-key": process.env.API_KEY,
    },
    body: JSON.stringify(body),
  });
  return answer.json();
}
