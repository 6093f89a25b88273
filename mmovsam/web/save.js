// Has the browser save a file, [its name, its content as a data address], that the server made.
async ([name, address]) => {
  if (!name) return;
  const content = await (await fetch(address)).blob();
  const link = document.createElement('a');
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
