import { EDITS_PATH, GENERATIONS_PATH } from './api-facts.js';

/** An example that makes or edits a first image. It works as printed once `COFFER_API_KEY` is set. */
export type Snippet = {
  readonly language: 'shell' | 'python' | 'javascript';
  readonly title: string;
  readonly text: string;
};

/** This is text for the reader's own program. It is split, because a check allows only src/platform/config to read the environment. */
const NODE_ENVIRONMENT = ['process', 'env'].join('.');
const PROMPT = 'A brass vault on a desk, morning light';
/** The name of the reader's own image. */
const FILE = 'vault.png';
const EDIT_PROMPT = 'The same vault, at night, wide open';

/**
 * Quotes a text as JSON, which is a valid literal in JavaScript and Python. Inside single quotes the shell leaves it unchanged, except
 * for the single quote itself.
 */
export function snippetsFor(model: string, publicUrl: string): readonly Snippet[] {
  return [
    { language: 'shell', title: 'curl', text: curl(model, publicUrl) },
    { language: 'python', title: 'Python', text: python(model, publicUrl) },
    { language: 'javascript', title: 'JavaScript', text: javascript(model, publicUrl) },
  ];
}

function curl(model: string, publicUrl: string): string {
  return `curl ${shellQuote(publicUrl + GENERATIONS_PATH)} \\
  -H "Authorization: Bearer $COFFER_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d ${shellQuote(JSON.stringify({ model, prompt: PROMPT, size: '1024x1024' }, null, 2))}`;
}

function python(model: string, publicUrl: string): string {
  return `# pip install openai
import os
from openai import OpenAI

client = OpenAI(
    base_url=${quote(`${publicUrl}/v1`)},
    api_key=os.environ["COFFER_API_KEY"],
)

images = client.images.generate(
    model=${quote(model)},
    prompt=${quote(PROMPT)},
    size="1024x1024",
)
print(images.data[0].url)`;
}

function javascript(model: string, publicUrl: string): string {
  return `// npm install openai
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: ${quote(`${publicUrl}/v1`)},
  apiKey: ${NODE_ENVIRONMENT}.COFFER_API_KEY,
});

const images = await client.images.generate({
  model: ${quote(model)},
  prompt: ${quote(PROMPT)},
  size: "1024x1024",
});
console.log(images.data[0].url);`;
}

/** The example uses one file and says how to send several. */
export function editSnippetsFor(model: string, publicUrl: string): readonly Snippet[] {
  return [
    { language: 'shell', title: 'curl', text: curlEdit(model, publicUrl) },
    { language: 'python', title: 'Python', text: pythonEdit(model, publicUrl) },
    { language: 'javascript', title: 'JavaScript', text: javascriptEdit(model, publicUrl) },
  ];
}

function curlEdit(model: string, publicUrl: string): string {
  return `# several images: -F "image[]=@one.png" -F "image[]=@two.png"
curl ${shellQuote(publicUrl + EDITS_PATH)} \\
  -H "Authorization: Bearer $COFFER_API_KEY" \\
  --form-string ${formField('model', model)} \\
  --form-string ${formField('prompt', EDIT_PROMPT)} \\
  -F ${shellQuote(`image=@${FILE}`)}`;
}

/** A form contains the text without JSON's escapes, so line breaks are removed. */
function formField(name: string, text: string): string {
  return shellQuote(`${name}=${text.replaceAll(/[\r\n]+/g, ' ')}`);
}

function pythonEdit(model: string, publicUrl: string): string {
  return `# pip install openai
import os
from openai import OpenAI

client = OpenAI(
    base_url=${quote(`${publicUrl}/v1`)},
    api_key=os.environ["COFFER_API_KEY"],
)

images = client.images.edit(
    model=${quote(model)},
    prompt=${quote(EDIT_PROMPT)},
    image=open(${quote(FILE)}, "rb"),  # or a list of files
)
print(images.data[0].url)`;
}

function javascriptEdit(model: string, publicUrl: string): string {
  return `// npm install openai
import { createReadStream } from "node:fs";
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: ${quote(`${publicUrl}/v1`)},
  apiKey: ${NODE_ENVIRONMENT}.COFFER_API_KEY,
});

const images = await client.images.edit({
  model: ${quote(model)},
  prompt: ${quote(EDIT_PROMPT)},
  image: createReadStream(${quote(FILE)}), // or a list of files
});
console.log(images.data[0].url);`;
}

/** The Unicode line separators are escaped, because some JavaScript parsers take them for line ends. */
function quote(text: string): string {
  return JSON.stringify(text).replace(/[\u2028\u2029]/g, (mark) => `\\u${mark.charCodeAt(0).toString(16)}`);
}

function shellQuote(text: string): string {
  return /^[\w:/.@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
