// Starts aimock on a free port of loopback: jobs move on by the number of times they were asked about.
// Arguments: the folder with node_modules. Prints one line of JSON with the address, and ends when stdin does.
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const entry = join(process.argv[2], "node_modules", "@copilotkit", "aimock", "dist", "index.js");
const { LLMock } = await import(pathToFileURL(entry).href);

const staged = { pollsBeforeInProgress: 2, pollsBeforeCompleted: 4 };
const elsewhere = "http://127.0.0.1:9/files";
const mock = new LLMock({
  port: 0,
  host: "127.0.0.1",
  logLevel: "silent",
  falQueue: staged,
  openRouterVideo: staged,
  grokVideo: staged,
});
mock.onFalImage(/flux/, { images: [{ url: `${elsewhere}/kite.png` }] });
mock.onFalVideo(/kling/, { video: { id: "kling", status: "completed", url: `${elsewhere}/kite.mp4` } });
mock.onVideo("a red kite", { video: { id: "done", status: "completed", url: `${elsewhere}/kite.mp4`, cost: 0.12 } });
mock.onVideo("a slow kite", { video: { id: "slow", status: "processing" } });
mock.onVideo("a bad kite", { video: { id: "bad", status: "failed", error: "content policy violation" } });

await mock.start();
process.stdout.write(JSON.stringify({ url: mock.url }) + "\n");
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
