// Words of the page in English and Chinese. A key missing in one language fails the type check.

const english = {
  newChat: "New chat",
  chats: "Chats",
  noChats: "Your conversations stay in this browser.",
  deleteChat: "Delete chat",
  model: "Model",
  placeholder: "Ask anything",
  send: "Send",
  stop: "Stop",
  regenerate: "Regenerate",
  edit: "Edit",
  copy: "Copy",
  copied: "Copied",
  cancel: "Cancel",
  thinking: "Thinking…",
  thoughtFor: (seconds: number) => `Thought for ${seconds.toFixed(1)} s`,
  thoughts: "Thoughts",
  speed: (tokens: number, rate: number) => `${tokens} tokens · ${rate.toFixed(1)} tokens/s`,
  stopped: "Stopped",
  lengthLimit: "The answer reached its length limit.",
  welcome: "What shall we think about?",
  welcomeHint: "This model runs on your own machine. Nothing leaves it.",
  settings: "Settings",
  systemPrompt: "System prompt",
  temperature: "Temperature",
  maxTokens: "Longest answer (tokens)",
  modelDefault: "model's default",
  light: "Light theme",
  dark: "Dark theme",
  language: "中文",
  offline: "The server does not answer. Is hadal still running?",
  failed: "The answer failed",
  you: "You",
  assistant: "Assistant",
  menu: "Chats and settings",
  skip: "Skip to the message box",
  enterHint: "Enter sends, Shift+Enter makes a new line",
};

type Words = typeof english;

const chinese: Words = {
  newChat: "新对话",
  chats: "对话",
  noChats: "对话只保存在这个浏览器里。",
  deleteChat: "删除对话",
  model: "模型",
  placeholder: "想问点什么？",
  send: "发送",
  stop: "停止",
  regenerate: "重新生成",
  edit: "编辑",
  copy: "复制",
  copied: "已复制",
  cancel: "取消",
  thinking: "思考中…",
  thoughtFor: (seconds) => `已思考 ${seconds.toFixed(1)} 秒`,
  thoughts: "思考过程",
  speed: (tokens, rate) => `${tokens} 个词元 · ${rate.toFixed(1)} 词元/秒`,
  stopped: "已停止",
  lengthLimit: "回答已达到长度上限。",
  welcome: "今天想聊些什么？",
  welcomeHint: "模型运行在您自己的机器上，数据不会离开本机。",
  settings: "设置",
  systemPrompt: "系统提示词",
  temperature: "温度",
  maxTokens: "回答长度上限（词元）",
  modelDefault: "模型默认值",
  light: "浅色主题",
  dark: "深色主题",
  language: "English",
  offline: "服务器没有响应，hadal 还在运行吗？",
  failed: "生成回答时出错",
  you: "您",
  assistant: "助手",
  menu: "对话与设置",
  skip: "跳到输入框",
  enterHint: "回车发送，Shift+回车换行",
};

export type Language = "en" | "zh";
const kLanguage = "hadal.language";

function initial(): Language {
  const saved = localStorage.getItem(kLanguage);
  if (saved === "en" || saved === "zh") return saved;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

class I18n {
  language = $state<Language>(initial());
  words = $derived(this.language === "zh" ? chinese : english);

  toggle(): void {
    this.language = this.language === "zh" ? "en" : "zh";
    localStorage.setItem(kLanguage, this.language);
    this.apply();
  }

  apply(): void {
    document.documentElement.lang = this.language === "zh" ? "zh-CN" : "en";
  }
}

export const i18n = new I18n();
