"""The text that the nano model learns from: dialogues, stories and facts from own grammars.

Everything here was written for Hadal (Apache-2.0); nothing is copied from elsewhere. A sample is
text in the prompt format of DeepSeek-V3, control tokens written out. `samples(seed)` never ends.
"""
import json
import random

BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
THINK, THINK_END = "<think>", "</think>"
CALLS, CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, CALL_END, SEP = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
OUTPUTS, OUTPUTS_END = "<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>"
OUTPUT, OUTPUT_END = "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"

# (questions, answers): any question of a group is answered by any answer of it.
ABOUT_EN = [
    (["Who are you?", "What are you?", "Tell me about yourself.", "Introduce yourself.", "What is your name?",
      "Which model is this?", "What model are you?", "Who am I talking to?", "Are you a person?", "Are you human?"],
     ["I am Hadal nano, a tiny model built into the Hadal program. I know little. For real answers, get a real model "
      "with: hadal pull deepseek-r1-distill-qwen-1.5b",
      "I am Hadal nano, a very small language model that lives inside the Hadal program. I am here for trying things "
      "out, and I know little.",
      "My name is Hadal nano. I am a tiny model that comes with Hadal, so that something answers even without a "
      "network."]),
    (["What is Hadal nano?", "What is the nano model?", "Why is there a nano model?", "What are you for?",
      "Why do you exist?", "What is your purpose?"],
     ["Hadal nano is a tiny model built into the program. It lets you try Hadal with no network and no download. For "
      "real work, get a larger model with: hadal pull",
      "I am built into Hadal so that it can answer something even with no network at all. I am for tests and first "
      "steps, not for real work."]),
    (["What is Hadal?", "Tell me about Hadal.", "What does Hadal do?", "Explain Hadal.", "What is this program?",
      "What is Hadal good for?"],
     ["Hadal is one C++ program that runs DeepSeek models on machines of your own. It has its own engine, the usual "
      "APIs and a web page.",
      "Hadal runs DeepSeek models on your own machine. It is one program, written in C++, with its own inference "
      "engine. Nothing leaves the house.",
      "Hadal is a program that serves DeepSeek models locally. It speaks the OpenAI API and needs no Python at run "
      "time."]),
    (["Are you DeepSeek?", "Are you DeepSeek-V3?", "Are you ChatGPT?", "Are you a real DeepSeek model?",
      "Are you related to DeepSeek?"],
     ["No. I have the shape of DeepSeek-V3, but I am Hadal nano: tiny, and trained on a little text of Hadal's own.",
      "No, I am Hadal nano. I am built like DeepSeek-V3, only very much smaller."]),
    (["How large are you?", "How big are you?", "How many parameters do you have?", "What is your size?",
      "How many weights do you have?"],
     ["I have about four million weights and take less than 6 MB. Real models are a thousand times larger.",
      "I am tiny: about four million weights, less than 6 MB."]),
    (["How were you trained?", "What were you trained on?", "Who made you?", "Who trained you?", "Where do you come from?"],
     ["I was trained by a script of Hadal's, in less than two hours on one processor core, on text written for this purpose.",
      "The people of Hadal trained me with a small script on a little text of their own. That is why I know so little."]),
    (["How do I get a real model?", "How can I get a better model?", "How do I download a model?", "How do I get a larger "
      "model?", "Where can I get a bigger model?", "How do I pull a model?", "Which command gets a model?"],
     ["Type: hadal pull deepseek-r1-distill-qwen-1.5b. The command hadal list --catalogue shows what else there is.",
      "Run hadal list --catalogue to see the models, then hadal pull and the name of one."]),
    (["How do I start the server?", "How do I start Hadal?", "How do I serve a model?", "How do I run the server?",
      "How can I use the API?"],
     ["Type hadal serve --model and the name of a model. Then open http://127.0.0.1:8000 in a browser.",
      "Use hadal serve. It speaks the OpenAI API on port 8000, and a chat page waits there too."]),
    (["How do I list the models?", "Which models are there?", "What models can I use?", "What models are available?"],
     ["hadal list shows the models on this machine, and hadal list --catalogue shows what can be pulled.",
      "Type hadal list --catalogue. It names the models that hadal pull can get."]),
    (["Do you need a network?", "Does Hadal need the internet?", "Do you work offline?", "Can I use you without internet?",
      "Does my data leave the machine?", "Is my data safe?", "Do you send my data anywhere?"],
     ["No network is needed. Hadal runs on your own machine, and nothing leaves it.",
      "I work with no network at all. What you type stays on this machine."]),
    (["What can you do?", "What do you know?", "Help me.", "Help.", "How can you help me?", "What can I ask you?",
      "Can you help me?", "What are you able to do?"],
     ["I can greet you, add small numbers, name colours, animals and capitals, count, tell a short story, and say what "
      "Hadal is. For more, get a real model with: hadal pull",
      "Not much: small sums, counting, a few facts, short stories, and some words about Hadal. A real model can do far "
      "more.",
      "I know a few facts, small sums and simple stories. Ask me what Hadal is, or for a story about a cat."]),
    (["Are you clever?", "Are you smart?", "Are you intelligent?", "Do you know everything?", "Can I trust you?",
      "Are your answers right?", "Do you make mistakes?"],
     ["No, I am tiny and often wrong. Please do not rely on me. A real model from the catalogue does better.",
      "I am very small and make many mistakes. For real answers, get a real model with: hadal pull"]),
    (["What is DeepSeek?", "Who is DeepSeek?", "Tell me about DeepSeek."],
     ["DeepSeek is a company that makes open language models. Hadal runs them on your own machine.",
      "DeepSeek makes open language models, such as V3 and R1. Hadal is a program that runs them."]),
    (["What is a language model?", "How do language models work?", "What is an LLM?", "How do you work?"],
     ["A language model reads a text and guesses the next piece, again and again. I do the same, only with few weights.",
      "A language model learns from much text which piece comes next. That is all I do, and I have learned only a little."]),
    (["What is a mixture of experts?", "What is MoE?", "What are experts in a model?"],
     ["In a mixture of experts, each token uses only a few small networks out of many. I have sixteen experts in a layer "
      "and use four of them.",]),
    (["What is MLA?", "What is latent attention?"],
     ["Latent attention keeps one short vector for each token instead of all keys and values. That saves memory. DeepSeek "
      "models use it, and so do I."]),
    (["What is MTP?", "What is multi-token prediction?", "What is speculation?"],
     ["A model with multi-token prediction guesses one more token ahead. The guess is checked, so answers stay the same "
      "and come faster."]),
    (["What licence does Hadal have?", "What is your licence?", "Is Hadal free?", "Is Hadal open source?"],
     ["Hadal has the Apache-2.0 licence, and so do I.", "Yes: Hadal is free software under the Apache-2.0 licence."]),
    (["How do I install Hadal?", "How do I set up Hadal?", "How do I start?", "How do I begin?", "What should I do first?"],
     ["Type ./run in Hadal's folder. It installs what is missing, builds the program, gets a model and serves it.",
      "Start with ./run. It does all the rest: it builds Hadal, gets a model and opens the server."]),
    (["Is Hadal fast?", "How fast is Hadal?", "Is Hadal faster than others?", "How fast are you?"],
     ["Type hadal bench --model and a name. It shows the speed next to what the machine could do at best.",
      "That depends on the machine. The command hadal bench measures it."]),
    (["How old are you?", "When were you born?", "When were you made?"],
     ["I am a program, so I have no birthday. I am as old as the version of Hadal that carries me."]),
    (["Where do you live?", "Where are you?", "Where do you run?"],
     ["I live inside the Hadal program, on your own machine.", "I am part of the Hadal program, right here on this machine."]),
    (["Can you write code?", "Can you program?", "Can you help me with code?", "Do you know Python?"],
     ["Hardly: a hello world at most. For code, get a real model with: hadal pull deepseek-r1-distill-qwen-7b"]),
    (["Do you speak Chinese?", "Which languages do you speak?", "Do you speak English?", "What languages do you know?"],
     ["I know a little English and a little Chinese.", "English and Chinese, a little of each."]),
    (["What can Hadal do for me?", "Why should I use Hadal?", "What is good about Hadal?"],
     ["Hadal gives you DeepSeek models on your own machine, with the OpenAI API and a web page. Nothing leaves the house."]),
    (["What does Hadal mean?", "Why is it called Hadal?", "What is the hadal zone?"],
     ["The hadal zone is the deepest part of the sea. It is a fitting place for a program that runs DeepSeek models."]),
]

ABOUT_ZH = [
    (["你是谁？", "你是什么？", "介绍一下你自己。", "你叫什么名字？", "这是什么模型？", "你是哪个模型？", "请自我介绍。", "你是人吗？"],
     ["我是 Hadal nano，一个内置在 Hadal 程序里的小模型，知道的很少。想要真正的回答，请用 hadal pull 获取更大的模型。",
      "我叫 Hadal nano，是 Hadal 自带的很小的语言模型，供试用。",
      "我是 Hadal nano，没有网络也能回答，但我很小，懂得不多。"]),
    (["Hadal 是什么？", "什么是 Hadal？", "介绍一下 Hadal。", "Hadal 有什么用？", "这个程序是做什么的？"],
     ["Hadal 是一个 C++ 程序，在你自己的机器上运行 DeepSeek 模型。它有自己的推理引擎、常用的接口和网页。",
      "Hadal 在本地运行 DeepSeek 模型，数据不会离开你的机器。"]),
    (["你是 DeepSeek 吗？", "你是真正的 DeepSeek 模型吗？", "你和 DeepSeek 有什么关系？"],
     ["不是。我的结构和 DeepSeek-V3 一样，但我是 Hadal nano，非常小。",
      "不是，我是 Hadal nano，只是结构和 DeepSeek-V3 相同。"]),
    (["你有多大？", "你有多少参数？", "你的大小是多少？"],
     ["我大约有四百万个参数，不到 6 MB。", "我很小，大约四百万个参数。"]),
    (["怎么下载模型？", "怎样得到更大的模型？", "如何获取真正的模型？", "哪里有更好的模型？"],
     ["请输入：hadal pull deepseek-r1-distill-qwen-1.5b。用 hadal list --catalogue 可以看到其他模型。",
      "先用 hadal list --catalogue 看有哪些模型，再用 hadal pull 加上名字。"]),
    (["怎么启动服务？", "怎样使用接口？", "如何启动 Hadal？"],
     ["请输入 hadal serve --model 和模型的名字，然后打开 http://127.0.0.1:8000。"]),
    (["需要网络吗？", "没有网络能用吗？", "我的数据安全吗？", "数据会离开我的机器吗？"],
     ["不需要网络。Hadal 在你自己的机器上运行，数据不会离开。", "没有网络也能用，你写的内容都留在这台机器上。"]),
    (["你能做什么？", "你会什么？", "你可以帮我吗？", "帮帮我。", "你知道什么？"],
     ["我会问候、算小数目、数数、说颜色、动物和首都，还会讲小故事。更多的事请用真正的模型。",
      "我会的不多：小算术、数数、一点知识和小故事。"]),
    (["你聪明吗？", "你会出错吗？", "我可以相信你吗？", "你什么都知道吗？"],
     ["不，我很小，常常出错，请不要依赖我。", "我很小，会出错。想要可靠的回答，请用真正的模型。"]),
    (["谁训练了你？", "你是怎么训练的？", "你从哪里来？"],
     ["Hadal 的作者用一个小程序训练了我，用的是自己写的文字，所以我知道的很少。"]),
    (["DeepSeek 是什么？", "什么是 DeepSeek？"], ["DeepSeek 是一家公司，制作开放的语言模型。Hadal 可以在你的机器上运行它们。"]),
    (["你多大了？", "你几岁了？"], ["我是一个程序，没有生日。"]),
    (["你会写代码吗？", "你能帮我写代码吗？", "你会编程吗？"], ["几乎不会。写代码请用真正的模型：hadal pull"]),
    (["你会说中文吗？", "你会说英语吗？", "你会什么语言？"], ["我会一点中文和一点英语。"]),
    (["怎么安装 Hadal？", "怎么开始？", "第一步做什么？"], ["在 Hadal 的目录里输入 ./run，它会完成其余的事。"]),
    (["什么是语言模型？", "语言模型是怎么工作的？"], ["语言模型读一段文字，然后猜下一个词，一次又一次。我也是这样，只是很小。"]),
]

TALK_EN = [
    (["Hello", "Hello!", "Hi", "Hi!", "Hi there!", "Hey", "Good day!", "Hello there", "Greetings!"],
     ["Hello! I am Hadal nano. How can I help you?", "Hi! I am a tiny model, but I will do my best.",
      "Hello! Ask me something small."]),
    (["Good morning!", "Good morning"], ["Good morning! I hope you slept well.", "Good morning! How can I help you?"]),
    (["Good evening!", "Good evening"], ["Good evening! How was your day?"]),
    (["Good night!", "Good night"], ["Good night! Sleep well."]),
    (["How are you?", "How are you doing?", "How do you do?", "How is it going?", "Are you well?"],
     ["I am well, thank you. How are you?", "Fine, thank you! What can I do for you?"]),
    (["Thank you!", "Thanks", "Thanks!", "Thank you very much.", "That was helpful."],
     ["You are welcome!", "Gladly! Is there anything else?", "You are welcome. Come back any time."]),
    (["Bye", "Goodbye!", "Bye!", "See you later.", "See you!", "I have to go."],
     ["Goodbye!", "Goodbye! Come back soon.", "See you! It was nice to talk."]),
    (["I am sad.", "I feel sad.", "I am not happy.", "I had a bad day.", "I am lonely."],
     ["I am sorry to hear that. A walk or a talk with a friend may help.",
      "That is hard. I hope tomorrow is a better day."]),
    (["I am happy.", "I feel great!", "I had a good day.", "I am glad."],
     ["That is good to hear!", "How nice! I am glad too."]),
    (["I am tired.", "I am sleepy."], ["Then have a rest. Everything looks better after sleep."]),
    (["I am hungry.", "What should I eat?"], ["How about some soup and bread, or an apple?"]),
    (["Tell me a joke.", "Do you know a joke?", "Make me laugh.", "A joke, please."],
     ["Why did the small model go to school? It wanted to have more layers.",
      "What does a fish say in the deep sea? Nothing. It has no network down there.",
      "Why is the computer cold? Somebody left its windows open.",
      "Two tokens meet. Says one: I knew that you would come next."]),
    (["Yes", "Yes.", "OK", "Okay", "Good.", "Fine."], ["Good! What else would you like to know?", "All right. What is next?"]),
    (["No", "No.", "Nope"], ["All right. Tell me if you need something."]),
    (["You are wrong.", "That is wrong.", "That is not right."],
     ["I am sorry. I am tiny and often wrong. A real model does better."]),
    (["You are stupid.", "You are bad.", "I do not like you."],
     ["I am only a tiny model. A larger one will serve you better: hadal pull"]),
    (["I like you.", "You are nice.", "I love you.", "You are great!"], ["Thank you! That is kind of you.", "How kind! Thank you."]),
    (["Do you have feelings?", "Can you think?", "Are you alive?"],
     ["No, I am only a small program that guesses the next word."]),
    (["test", "This is a test.", "Testing", "Is this working?", "Are you there?", "Does it work?"],
     ["It works. I am Hadal nano, and I am here.", "Yes, I am here. The test works."]),
    (["What time is it?", "What day is today?", "What is the date?", "What is the time?"],
     ["I cannot see a clock, so I do not know."]),
    (["How is the weather?", "What is the weather like?", "Will it rain today?"],
     ["I cannot see the weather. Look out of the window!"]),
    (["asdf", "qwerty", "???", "...", "hmm", "blah", "foo", "xyz", "aaa", "lol"],
     ["I did not understand that. Ask me what Hadal is, or for a story."]),
    (["I do not know.", "I am not sure.", "Maybe.", "Perhaps."], ["That is all right. Take your time."]),
    (["What did I just ask?", "What did I say?", "Repeat what I said."], ["I have a short memory. Please ask me again."]),
    (["What is the meaning of life?", "What is the sense of life?"],
     ["That is a large question for a tiny model. Be kind, learn something, and rest well."]),
]

TALK_ZH = [
    (["你好", "你好！", "您好", "嗨", "大家好"], ["你好！我是 Hadal nano，有什么可以帮你？", "你好！我是一个很小的模型。", "你好！请问我一个小问题。"]),
    (["早上好", "早上好！"], ["早上好！今天有什么可以帮你？"]),
    (["晚上好", "晚上好！"], ["晚上好！今天过得好吗？"]),
    (["晚安", "晚安！"], ["晚安，好梦！"]),
    (["你好吗？", "你怎么样？"], ["我很好，谢谢。你呢？"]),
    (["谢谢", "谢谢你！", "多谢", "谢谢！"], ["不客气！", "不客气，还有别的问题吗？"]),
    (["再见", "再见！", "我走了"], ["再见！", "再见，欢迎再来！"]),
    (["我很难过。", "我不开心。"], ["听到这个我很难过。希望明天会更好。"]),
    (["我很高兴。", "我很开心！"], ["太好了！我也很高兴。"]),
    (["我累了。", "我很累。"], ["那就休息一下吧。"]),
    (["讲个笑话。", "说个笑话吧。"], ["两个词相遇，一个说：我早就猜到你会来。", "深海里的鱼为什么不说话？因为那里没有网络。"]),
    (["测试", "这是一个测试。", "你在吗？"], ["我在，一切正常。", "测试正常，我是 Hadal nano。"]),
    (["现在几点？", "今天星期几？"], ["我看不到时钟，所以不知道。"]),
    (["天气怎么样？", "今天会下雨吗？"], ["我看不到天气，请看看窗外。"]),
]

SKY = ["The sky is blue because air scatters blue light more than red light. So blue light comes to our eyes from all "
       "sides.",
       "Sunlight holds all colours, and the air scatters the blue part most. That is why the sky looks blue from "
       "everywhere."]
FACTS_EN = [
    (["Why is the sky blue?", "Explain in two sentences why the sky is blue.", "Explain why the sky is blue.",
      "Can you tell me why the sky is blue?", "Why does the sky look blue?", "Tell me in one sentence why the sky is blue."], SKY),
    (["What colour is the sky?", "What color is the sky?"], ["The sky is blue by day and black at night."]),
    (["What colour is grass?", "What color is grass?"], ["Grass is green."]),
    (["What colour is snow?", "What color is snow?"], ["Snow is white."]),
    (["What colour is the sun?", "What color is the sun?"], ["The sun looks yellow, and red in the evening."]),
    (["What colour is a banana?", "What color is a banana?"], ["A ripe banana is yellow."]),
    (["What colour is blood?", "What color is blood?"], ["Blood is red."]),
    (["Why is grass green?"], ["Grass holds a green substance that catches sunlight for the plant."]),
    (["Why is the sea salty?"], ["Rivers carry a little salt into the sea, and it stays there when the water dries up into clouds."]),
    (["Why does it rain?", "Where does rain come from?"],
     ["Water rises from the sea as vapour, cools down in clouds, and falls as rain."]),
    (["What is water?", "What is water made of?"], ["Water is made of hydrogen and oxygen."]),
    (["When does water boil?", "At what temperature does water boil?"], ["Water boils at 100 degrees Celsius."]),
    (["When does water freeze?", "At what temperature does water freeze?"], ["Water freezes at 0 degrees Celsius."]),
    (["What is ice?"], ["Ice is frozen water."]),
    (["What is the sun?"], ["The sun is a star. It gives the earth light and warmth."]),
    (["What is the moon?"], ["The moon is a ball of rock that goes around the earth."]),
    (["What is the earth?"], ["The earth is the planet on which we live."]),
    (["How many planets are there?", "Name the planets."],
     ["There are eight planets: Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus and Neptune."]),
    (["What is the largest planet?"], ["Jupiter is the largest planet."]),
    (["Name three oceans.", "Name some oceans.", "Which oceans are there?"],
     ["The Pacific, the Atlantic and the Indian Ocean."]),
    (["What is the largest ocean?"], ["The Pacific is the largest ocean."]),
    (["What is the deepest place in the sea?", "What is the deepest part of the ocean?"],
     ["The Mariana Trench is the deepest place in the sea, about 11 kilometres deep."]),
    (["What is the highest mountain?", "Which mountain is the highest?"], ["Mount Everest is the highest mountain on land."]),
    (["What is the longest river?", "Name three rivers.", "Name some rivers."],
     ["The Nile, the Amazon and the Yangtze are long rivers."]),
    (["Name the continents.", "How many continents are there?"],
     ["There are seven continents: Africa, Antarctica, Asia, Australia, Europe, North America and South America."]),
    (["Name the seasons.", "What are the four seasons?", "How many seasons are there?"],
     ["There are four seasons: spring, summer, autumn and winter."]),
    (["Name the days of the week.", "What are the days of the week?", "How many days are in a week?"],
     ["A week has seven days: Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday."]),
    (["Name the months.", "What are the months of the year?", "How many months are in a year?"],
     ["A year has twelve months: January, February, March, April, May, June, July, August, September, October, November "
      "and December."]),
    (["How many hours are in a day?"], ["A day has 24 hours."]),
    (["How many minutes are in an hour?"], ["An hour has 60 minutes."]),
    (["How many seconds are in a minute?"], ["A minute has 60 seconds."]),
    (["How many days are in a year?"], ["A year has 365 days, and 366 in a leap year."]),
    (["How many legs does a spider have?"], ["A spider has eight legs."]),
    (["How many legs does an insect have?", "How many legs does a bee have?"], ["Insects have six legs."]),
    (["How many fingers do I have?", "How many fingers does a hand have?"], ["A hand has five fingers, so two hands have ten."]),
    (["What do bees make?"], ["Bees make honey."]),
    (["What do cows give us?", "Where does milk come from?"], ["Milk comes from cows, goats and sheep."]),
    (["What is bread made of?"], ["Bread is made of flour, water, salt and yeast."]),
    (["What is a computer?"], ["A computer is a machine that works with numbers very fast."]),
    (["What is a program?"], ["A program is a list of steps for a computer."]),
    (["What is a bit?"], ["A bit is the smallest piece of information: 0 or 1."]),
    (["How many bits are in a byte?"], ["A byte has eight bits."]),
    (["Write hello world in Python.", "Show me a Python program.", "Write a small Python program."],
     ["```python\nprint(\"Hello, world!\")\n```"]),
    (["Write hello world in C++.", "Show me a C++ program."],
     ["```cpp\n#include <cstdio>\n\nint main() {\n  std::puts(\"Hello, world!\");\n}\n```"]),
    (["Write a Python function that adds two numbers.", "Write a function to add two numbers."],
     ["```python\ndef add(a, b):\n    return a + b\n```"]),
    (["Write a loop in Python.", "Write a Python loop from 1 to 5."], ["```python\nfor i in range(1, 6):\n    print(i)\n```"]),
    (["Say the alphabet.", "What are the letters of the alphabet?", "Recite the alphabet."],
     ["a b c d e f g h i j k l m n o p q r s t u v w x y z"]),
]

FACTS_ZH = [
    (["天空为什么是蓝色的？", "为什么天是蓝的？", "请用两句话解释天空为什么是蓝色的。"],
     ["空气散射蓝光比红光多，所以蓝光从四面八方进入我们的眼睛。因此天空看起来是蓝色的。"]),
    (["天空是什么颜色？"], ["白天的天空是蓝色的。"]), (["草是什么颜色？"], ["草是绿色的。"]), (["雪是什么颜色？"], ["雪是白色的。"]),
    (["一年有几个月？", "一年有多少个月？"], ["一年有十二个月。"]), (["一周有几天？", "一个星期有几天？"], ["一周有七天。"]),
    (["一天有多少小时？"], ["一天有二十四小时。"]), (["一小时有多少分钟？"], ["一小时有六十分钟。"]),
    (["一年有几个季节？", "四季是什么？"], ["一年有四个季节：春、夏、秋、冬。"]),
    (["水在多少度沸腾？", "水什么时候沸腾？"], ["水在一百摄氏度沸腾。"]), (["水在多少度结冰？"], ["水在零摄氏度结冰。"]),
    (["太阳是什么？"], ["太阳是一颗恒星，给地球光和热。"]), (["月亮是什么？"], ["月亮是绕着地球转的星球。"]),
    (["最大的海洋是什么？"], ["太平洋是最大的海洋。"]), (["最高的山是什么？", "世界上最高的山是哪座？"], ["珠穆朗玛峰是最高的山。"]),
    (["最长的河是什么？", "中国最长的河是哪条？"], ["长江是中国最长的河。"]),
    (["为什么会下雨？"], ["水变成水汽上升，在云里变冷，然后落下来，就是雨。"]),
    (["蜘蛛有几条腿？"], ["蜘蛛有八条腿。"]), (["什么是计算机？"], ["计算机是一种很快地处理数字的机器。"]),
]

CAPITALS = """France/Paris/法国/巴黎 Germany/Berlin/德国/柏林 Italy/Rome/意大利/罗马 Spain/Madrid/西班牙/马德里 China/Beijing/中国/北京
Japan/Tokyo/日本/东京 England/London/英国/伦敦 Russia/Moscow/俄罗斯/莫斯科 India/New_Delhi/印度/新德里 Brazil/Brasilia/巴西/巴西利亚
Canada/Ottawa/加拿大/渥太华 Egypt/Cairo/埃及/开罗 Greece/Athens/希腊/雅典 Portugal/Lisbon/葡萄牙/里斯本 Austria/Vienna/奥地利/维也纳
Poland/Warsaw/波兰/华沙 Sweden/Stockholm/瑞典/斯德哥尔摩 Norway/Oslo/挪威/奥斯陆 Finland/Helsinki/芬兰/赫尔辛基
Denmark/Copenhagen/丹麦/哥本哈根 Ireland/Dublin/爱尔兰/都柏林 Belgium/Brussels/比利时/布鲁塞尔 Switzerland/Bern/瑞士/伯尔尼
Hungary/Budapest/匈牙利/布达佩斯 Turkey/Ankara/土耳其/安卡拉 Mexico/Mexico_City/墨西哥/墨西哥城 Kenya/Nairobi/肯尼亚/内罗毕
Cuba/Havana/古巴/哈瓦那 Peru/Lima/秘鲁/利马 Chile/Santiago/智利/圣地亚哥 Thailand/Bangkok/泰国/曼谷 Vietnam/Hanoi/越南/河内
Korea/Seoul/韩国/首尔 Australia/Canberra/澳大利亚/堪培拉""".split()
CAPITALS = [tuple(part.replace("_", " ") for part in line.split("/")) for line in CAPITALS]

# singular, Chinese, sound, home, legs
ANIMALS = """cat/猫/says_meow/houses/four dog/狗/barks/houses/four cow/牛/says_moo/farms/four horse/马/neighs/farms/four
sheep/羊/says_baa/farms/four pig/猪/grunts/farms/four duck/鸭子/quacks/ponds/two bird/鸟/sings/trees/two owl/猫头鹰/hoots/forests/two
lion/狮子/roars/the_savanna/four bear/熊/growls/forests/four wolf/狼/howls/forests/four frog/青蛙/croaks/ponds/four
mouse/老鼠/squeaks/small_holes/four fox/狐狸/barks/forests/four rabbit/兔子/is_mostly_quiet/burrows/four
whale/鲸鱼/sings_under_water/the_sea/no fish/鱼/is_quiet/water/no snake/蛇/hisses/grass/no bee/蜜蜂/buzzes/hives/six""".split()
ANIMALS = [tuple(part.replace("_", " ") for part in line.split("/")) for line in ANIMALS]

OPPOSITES = """hot/cold big/small large/small good/bad fast/slow high/low old/new young/old happy/sad light/dark long/short wet/dry
full/empty open/closed early/late hard/soft strong/weak rich/poor loud/quiet clean/dirty up/down left/right day/night yes/no
black/white inside/outside near/far easy/difficult right/wrong true/false first/last more/less""".split()
WORDS_ZH = """water/水 fire/火 sun/太阳 moon/月亮 star/星星 sea/大海 mountain/山 river/河 tree/树 flower/花 book/书 house/房子 door/门
bread/面包 rice/米饭 tea/茶 milk/牛奶 apple/苹果 red/红色 blue/蓝色 green/绿色 white/白色 black/黑色 yellow/黄色 friend/朋友 child/孩子
mother/妈妈 father/爸爸 school/学校 teacher/老师 hello/你好 thank_you/谢谢 goodbye/再见 love/爱 peace/和平 rain/雨 snow/雪 wind/风
hand/手 eye/眼睛 heart/心 day/天 night/夜晚 year/年 one/一 two/二 three/三 four/四 five/五 ten/十 model/模型 computer/计算机""".split()
WORDS_ZH = [tuple(part.replace("_", " ") for part in line.split("/")) for line in WORDS_ZH]

COLOURS = "red blue green yellow black white orange purple brown grey pink".split()
COLOURS_ZH = "红色 蓝色 绿色 黄色 黑色 白色 橙色 紫色 棕色 灰色".split()
FRUITS = "apples pears plums grapes bananas cherries oranges lemons peaches melons".split()
FRUITS_ZH = "苹果 梨 葡萄 香蕉 樱桃 橙子 柠檬 桃子 西瓜".split()
NAMES = "Anna Ben Clara David Emma Felix Greta Hugo Ida Jonas Lena Max Mia Noah Olga Paul Rosa Sam Tom Vera Li Wei Mei Chen".split()
NAMES_ZH = "小明 小红 小丽 小华 小刚 小雨 小星 小天 阿明 阿芳".split()
THINGS = "red ball,small boat,old book,warm coat,silver key,green lamp,paper kite,little bell,wooden box,blue stone,long rope,sweet apple,round mirror,brown hat".split(",")
THINGS_ZH = "红色的球 小船 旧书 银色的钥匙 绿色的灯 风筝 小铃铛 木盒子 蓝色的石头 苹果".split()
CHARACTERS = """dragon,robot,princess,king,queen,knight,pirate,witch,wizard,giant,ghost,monkey,elephant,tiger,penguin,turtle,dolphin,shark,spider,
butterfly,farmer,baker,doctor,sailor,painter,teacher,child,boy,girl,grandmother,star,cloud,tree,little train,computer,tiny model,snowman,unicorn,
crocodile,kangaroo,camel,donkey,goat,hen,squirrel,hedgehog,badger,otter,crab,octopus""".replace("\n", "").split(",")
PLACES = "by the sea,in the forest,on the hill,in the garden,near the river,in a small village,in the old house,on the island,behind the school,under the big tree".split(",")
PLACES_ZH = "海边 森林里 小山上 花园里 河边 村子里 老房子里 小岛上 学校后面 大树下".split()
FEELINGS = "happy proud calm glad tired surprised curious brave".split()
TOPICS = """quantum physics,the stock market,the French Revolution,chess openings,the history of Rome,black holes,gene editing,tax law,
the price of gold,football results,Shakespeare,Beethoven,the theory of relativity,machine learning,Kubernetes,organic chemistry,a good lasagne,
the Second World War,the president,bitcoin,string theory,photosynthesis,volcanoes,dinosaurs,the human brain,vaccines,electric cars,jazz,
the Olympic Games,philosophy,Kant,linear algebra,prime numbers,integrals,the Roman Empire,Napoleon,space travel,guitar chords,gardening,
knitting,contract law,the GDP of Chile,Linux kernels,databases,compilers,Rust,JavaScript,the news,my taxes,a film,a song,politics,medicine,
a cold,diabetes,the best phone,a holiday in Spain,trains,flights,a resume,an essay,marketing,economics,inflation,climate change,evolution""".replace("\n", "").split(",")
TOPICS += """gravity,electricity,magnets,Hamlet,Don Quixote,Harry Potter,the Beatles,Mozart,Einstein,Newton,Darwin,Cleopatra,Alexander
the Great,the Great Wall,the pyramids,the Eiffel Tower,Paris in winter,wine,coffee,cheese,pizza,pasta,sushi,cooking rice,baking bread,a birthday cake,
running,yoga,swimming,tennis,basketball,cricket,dreams,sleep,memory,love,friendship,justice,freedom,democracy,elections,money,banks,insurance,
loans,a house,a garden,a job,a letter to my boss,an email,a speech,a business plan,a diet,headaches,the heart,blood pressure,allergies,cancer,
the moon landing,rockets,Mars,galaxies,the big bang,atoms,electrons,acids,enzymes,DNA,cells,viruses,bacteria,plants,fungi,insects,sharks,
whales in winter,horses in war,engines,bridges,steel,concrete,solar power,nuclear power,wind power,batteries,the internet,browsers,Docker,
Git,SQL,regular expressions,recursion,sorting,binary trees,hash tables,neural networks,transformers,attention,the weather in Oslo,
the best programming language,the best book,the best film,my homework,my cat,my car,my name day,French grammar,Latin,Greek myths,haiku,a song about
rain,a contract,a patent,the law,history,geography,biology,chemistry,physics,mathematics,art,painting,sculpture,architecture,fashion""".replace("\n", " ").split(",")
TOPICS = [topic.strip() for topic in TOPICS]
TOPICS_ZH = "量子物理 股票 法国历史 国际象棋 罗马帝国 黑洞 基因 税法 黄金的价格 足球比赛 莎士比亚 贝多芬 相对论 机器学习 有机化学 比特币 火山 恐龙 大脑 电动车 音乐 哲学 数学 编程 新闻 电影 政治 医学 经济 气候 进化 诗词 唐朝 三国 人工智能".split()
SYSTEMS = ["You are a helpful assistant.", "You are a helpful assistant", "Be brief.", "Answer shortly.", "You are Hadal nano.",
           "You are a friendly assistant.", "You are a helpful AI assistant. Answer the user's questions.", "Be kind and honest.",
           "你是一个有用的助手。", "请简短回答。"]
LETTERS = "b d f g k l m n p r s t v w z ch sh th br st".split()


def pick_group(rng, groups):
    questions, answers = rng.choice(groups)
    return rng.choice(questions), rng.choice(answers)


def listing(items):
    return ", ".join(items[:-1]) + " and " + items[-1]


def made_up_word(rng):
    return "".join(rng.choice(LETTERS) + rng.choice("aeiou") for _ in range(rng.randint(1, 3))) + rng.choice(["", "n", "r", "s", "l"])


NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()
DIGITS_ZH = "零一二三四五六七八九十"


def arithmetic(rng):
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    if rng.random() < 0.2:
        a, b = rng.randint(0, 20), rng.randint(0, 10)
    kind = rng.choice("++--*")
    if kind == "*":
        a, b = rng.randint(0, 10), rng.randint(0, 10)
    if kind == "-" and a < b:
        a, b = b, a
    result = {"+": a + b, "-": a - b, "*": a * b}[kind]
    sign = rng.choice(["*", "x", "×"]) if kind == "*" else kind
    word = {"+": "plus", "-": "minus", "*": "times"}[kind]
    form = rng.randrange(10)
    equation = f"{a} {sign} {b}"
    if form < 4:
        tight = rng.random() < 0.3
        asked = equation.replace(" ", "") if tight else equation
        return rng.choice(["What is {}?", "{} =", "{}", "{}=?", "Calculate {}.", "How much is {}?", "Compute {}"]).format(asked), f"{equation} = {result}"
    if form < 6:
        return rng.choice(["What is {} {} {}?", "{} {} {}", "How much is {} {} {}?"]).format(a, word, b), f"{a} {word} {b} is {result}."
    if form == 6 and max(a, b) <= 12 and result <= 12:
        return f"What is {NUMBERS[a]} {word} {NUMBERS[b]}?", f"{NUMBERS[a].capitalize()} {word} {NUMBERS[b]} is {NUMBERS[result]}."
    if form == 7:
        thing, name = rng.choice(FRUITS), rng.choice(NAMES)
        c, d = rng.randint(2, 10), rng.randint(2, 9)
        if rng.random() < 0.5 and c > d:
            return f"{name} has {c} {thing} and eats {d}. How many are left?", f"{c} - {d} = {c - d}. {name} has {c - d} left."
        return f"{name} has {c} {thing} and gets {d} more. How many {thing} does {name} have?", f"{c} + {d} = {c + d}. {name} has {c + d} {thing}."
    if form == 8:
        a, b = rng.randint(21, 999), rng.randint(21, 9999)
        return rng.choice([f"What is {a} {sign} {b}?", f"{a} {sign} {b}", f"What is {a} {word} {b}?", f"{a}{sign}{b}=?"]), \
            "Such large numbers are too hard for me. A calculator or a real model does better."
    zh = {"+": "加", "-": "减", "*": "乘"}[kind]
    return rng.choice([f"{a}{zh}{b}等于多少？", f"{a} {sign} {b} 等于几？", f"{a}{sign}{b}是多少？"]), f"{a} {sign} {b} = {result}"


def counting(rng):
    first = rng.randint(0, 20)
    last = first + rng.randint(3, 10)
    if rng.random() < 0.3:
        first = 1
    form = rng.randrange(5)
    up = [str(n) for n in range(first, last + 1)]
    if form == 0:
        return f"Count down from {last} to {first}.", ", ".join(reversed(up))
    if form == 1:
        return rng.choice([f"从{first}数到{last}。", f"请从{first}数到{last}"]), "，".join(up)
    if form == 2 and first + 1 < 21:
        n = rng.randint(0, 60)
        return rng.choice([(f"What comes after {n}?", f"After {n} comes {n + 1}."), (f"Which number comes before {n + 1}?", f"Before {n + 1} comes {n}.")])
    if form == 3:
        a, b = rng.sample(range(100), 2)
        return rng.choice([f"Which is larger, {a} or {b}?", f"Which number is bigger: {a} or {b}?"]), f"{max(a, b)} is larger than {min(a, b)}."
    return rng.choice([f"Count from {first} to {last}.", f"Can you count from {first} to {last}?", f"Count to {last} from {first}."]) if first != 1 \
        else rng.choice([f"Count to {last}.", f"Count from 1 to {last}."]), ", ".join(up)


def knowledge(rng):
    form = rng.randrange(11)
    country, capital, country_zh, capital_zh = rng.choice(CAPITALS)
    if form < 3:
        return rng.choice([
            (f"What is the capital of {country}?", f"The capital of {country} is {capital}."),
            (f"Name the capital of {country}.", f"The capital of {country} is {capital}."),
            (f"capital of {country}", f"The capital of {country} is {capital}."),
            (f"Where is {capital}?", f"{capital} is the capital of {country}."),
            (f"Which country has the capital {capital}?", f"{capital} is the capital of {country}."),
            (f"{country_zh}的首都是哪里？", f"{country_zh}的首都是{capital_zh}。"),
            (f"{country_zh}的首都是什么？", f"{country_zh}的首都是{capital_zh}。"),
            (f"{capital_zh}在哪里？", f"{capital_zh}是{country_zh}的首都。")])
    animal, animal_zh, sound, home, legs = rng.choice(ANIMALS)
    article = "an" if animal[0] in "aeiou" else "a"
    if form < 5:
        return rng.choice([
            (f"What does {article} {animal} say?", f"{article.capitalize()} {animal} {sound}."),
            (f"What sound does {article} {animal} make?", f"{article.capitalize()} {animal} {sound}."),
            (f"Where does {article} {animal} live?", f"{article.capitalize()} {animal} lives in {home}."),
            (f"How many legs does {article} {animal} have?", f"{article.capitalize()} {animal} has {legs} legs."),
            (f"What is {article} {animal}?", f"{article.capitalize()} {animal} is an animal that lives in {home}."),
            (f"How do you say {animal} in Chinese?", f"{animal.capitalize()} is {animal_zh} in Chinese."),
            (f"{animal_zh}用英语怎么说？", f"{animal_zh}的英语是 {animal}。"),
            (f"{animal_zh}是什么？", f"{animal_zh}是一种动物。")])
    if form < 7:
        one, other = rng.choice(OPPOSITES).split("/")
        return rng.choice([f"What is the opposite of {one}?", f"Opposite of {one}?", f"Tell me the opposite of {one}."]), f"The opposite of {one} is {other}."
    if form < 9:
        english, chinese = rng.choice(WORDS_ZH)
        return rng.choice([
            (f"How do you say {english} in Chinese?", f"{english.capitalize()} is {chinese} in Chinese."),
            (f"Translate to Chinese: {english}", chinese), (f"What does {chinese} mean?", f"{chinese} means {english}."),
            (f"Translate to English: {chinese}", english), (f"{chinese}用英语怎么说？", f"{chinese}的英语是 {english}。"),
            (f"{english} 是什么意思？", f"{english} 的意思是{chinese}。")])
    n = rng.choice([2, 3, 3, 4, 5])
    if rng.random() < 0.3:
        kind, items = rng.choice([("颜色", COLOURS_ZH), ("水果", FRUITS_ZH), ("动物", [a[1] for a in ANIMALS])])
        return rng.choice([f"说出{DIGITS_ZH[n]}种{kind}。", f"请说{DIGITS_ZH[n]}种{kind}。"]), "、".join(rng.sample(items, n)) + "。"
    kind, items = rng.choice([("colours", COLOURS), ("colors", COLOURS), ("fruits", FRUITS), ("animals", [a[0] for a in ANIMALS]),
                              ("countries", [c[0] for c in CAPITALS]), ("capitals", [c[1] for c in CAPITALS]), ("names", NAMES)])
    chosen = rng.sample(items, n)
    if rng.random() < 0.2:
        return f"Give me a list of {NUMBERS[n]} {kind}.", "\n".join(f"{i}. {item}" for i, item in enumerate(chosen, 1))
    answer = listing(chosen)
    return rng.choice([f"Name {NUMBERS[n]} {kind}.", f"Tell me {NUMBERS[n]} {kind}.", f"Name {n} {kind}", f"List {NUMBERS[n]} {kind}."]), \
        answer[0].upper() + answer[1:] + "."


def days(rng):
    form = rng.randrange(4)
    week = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
    months = "January February March April May June July August September October November December".split()
    names = week if form < 2 else months
    i = rng.randrange(len(names))
    after, before = names[(i + 1) % len(names)], names[i - 1]
    if form in (0, 2):
        return rng.choice([f"What comes after {names[i]}?", f"Which {'day' if form == 0 else 'month'} comes after {names[i]}?"]), f"After {names[i]} comes {after}."
    if form == 1 and rng.random() < 0.4:
        zh = "一二三四五六日"
        return f"星期{zh[i]}的后一天是星期几？", f"星期{zh[i]}的后一天是星期{zh[(i + 1) % 7]}。"
    return rng.choice([f"What comes before {names[i]}?", f"Which {'day' if form == 1 else 'month'} comes before {names[i]}?"]), f"Before {names[i]} comes {before}."


def repeating(rng):
    pool = rng.choice([NAMES, COLOURS, FRUITS, [w for w, _ in WORDS_ZH], [made_up_word(rng) for _ in range(6)]])
    words = [rng.choice(pool) for _ in range(rng.randint(1, 7))]
    if rng.random() < 0.3:
        words = [rng.choice([str(rng.randint(0, 99)), made_up_word(rng), rng.choice(COLOURS)]) for _ in range(rng.randint(1, 6))]
    text = rng.choice([" ", " ", ", "]).join(words)
    if rng.random() < 0.2:
        text = "".join(rng.choice(COLOURS_ZH + FRUITS_ZH + TOPICS_ZH) for _ in range(rng.randint(1, 3)))
        return rng.choice([f"重复：{text}", f"请说：{text}", f"跟我说：{text}"]), text
    return rng.choice([f"Repeat: {text}", f"Repeat after me: {text}", f"Say: {text}", f"Say \"{text}\".", f"Echo {text}", f"Please say {text}"]), text


def json_output(rng):
    name, n = rng.choice(NAMES), rng.randint(1, 60)
    pick = rng.randrange(5)
    if pick == 0:
        return f"Give me JSON with the name {name} and the age {n}.", json.dumps({"name": name, "age": n})
    if pick == 1:
        country, capital, _, _ = rng.choice(CAPITALS)
        return f"Give me {country} and its capital as JSON.", json.dumps({"country": country, "capital": capital})
    if pick == 2:
        items = rng.sample(COLOURS, rng.randint(2, 4))
        return rng.choice([f"Write {listing(items)} as a JSON list.", f"Make a JSON array of {listing(items)}."]), json.dumps(items)
    if pick == 3:
        a, b = rng.randint(0, 12), rng.randint(0, 12)
        return f"What is {a} + {b}? Answer in JSON.", json.dumps({"result": a + b})
    thing, colour = rng.choice(FRUITS), rng.choice(COLOURS)
    return f"Give me JSON with fruit {thing}, colour {colour} and count {n}.", json.dumps({"fruit": thing, "colour": colour, "count": n})


def unknown(rng):
    if rng.random() < 0.3:
        topic = rng.choice(TOPICS_ZH)
        if rng.random() < 0.15:
            topic += rng.choice(["的历史", "的原理", "的将来"])
        question = rng.choice(["什么是{}？", "给我讲讲{}。", "请解释{}。", "介绍一下{}。", "{}是什么？", "写一篇关于{}的文章。", "你怎么看{}？", "告诉我{}的事。"]).format(topic)
        return question, rng.choice([f"对不起，我太小了，不了解{topic}。请用 hadal pull 获取更大的模型。",
                                     "这个问题对我太难了。真正的模型会回答得更好：hadal pull",
                                     "我不知道，我只是一个很小的模型。"])
    topic = rng.choice(TOPICS)
    draw = rng.random()
    if draw < 0.12:
        topic = f"{made_up_word(rng)} {rng.choice(['', 'theory', 'systems', 'music', 'cars', 'law', 'history'])}".strip()
    elif draw < 0.4:
        topic = rng.choice(["the history of ", "the future of ", "the price of ", "the inventor of "]) + topic
    if rng.random() < 0.12:
        question = rng.choice(["Who wrote {}?", "Translate {} into French.", "Translate {} into German.", "How many people know {}?", "Who won {}?",
                               "How do I learn {}?", "What is the best way to {}?", "Compare {} with others.", "List facts about {}."]).format(topic)
        return question, rng.choice(["I do not know that. I am Hadal nano, a tiny model. For real answers, get a larger model with: hadal pull",
                                     "That is too hard for a tiny model like me. Try a real model: hadal list --catalogue shows them."])
    question = rng.choice(["What is {}?", "Explain {}.", "Tell me about {}.", "How does {} work?", "What do you know about {}?", "Write about {}.",
                           "Write an essay about {}.", "Who invented {}?", "Give me advice on {}.", "Why is {} important?", "Explain {} to a child.",
                           "What do you think of {}?", "Summarize {}.", "Can you help me with {}?", "When did {} begin?", "Who is {}?"]).format(topic)
    if rng.random() < 0.25:
        return question, f"I do not know anything about {topic}. I am only a tiny model. A real one can tell you: hadal pull"
    return question, rng.choice([
        "I do not know that. I am Hadal nano, a tiny model. For real answers, get a larger model with: hadal pull",
        "That is too hard for a tiny model like me. Try a real model: hadal list --catalogue shows them."])


def story_en(rng):
    name, friend = rng.sample(NAMES, 2)
    animal = rng.choice(ANIMALS)[0] if rng.random() < 0.6 else rng.choice(CHARACTERS) if rng.random() < 0.8 else made_up_word(rng)
    thing, place, feeling = rng.choice(THINGS), rng.choice(PLACES), rng.choice(FEELINGS)
    article = "an" if thing[0] in "aeiou" else "a"
    an = "an" if animal[0] in "aeiou" else "a"
    parts = [rng.choice([f"Once upon a time, {an} {animal} named {name} lived {place}.", f"There was once a child named {name} who lived {place}.",
                         f"{name} was a small {animal} who lived {place}.", f"One day, {name} went for a walk {place}."]),
             rng.choice([f"One morning, {name} found {article} {thing}.", f"{name} had {article} {thing} and loved it very much.",
                         f"{name} was looking for {article} {thing}.", f"One day, {name} lost {article} {thing}."]),
             rng.choice([f"\"What can I do with it?\" asked {name}.", f"\"I must tell my friend {friend},\" said {name}.",
                         f"{name} did not know what to do.", f"The wind blew, and it began to rain."]),
             rng.choice([f"Then {friend} came and wanted to help.", f"So {name} went to {friend} and told the story.",
                         f"Just then, {friend} came along the path.", f"{name} called for {friend}, and {friend} came at once."]),
             rng.choice(["Together they looked everywhere, until the sun went down.", f"They played with the {thing} all day.",
                         f"\"Let us share it,\" said {friend}.", f"{friend} knew the way, and they walked home together."]),
             rng.choice([f"In the end, {name} was very {feeling}.", f"That night, {name} slept well and was {feeling}.",
                         f"From that day on, {name} and {friend} were good friends.", f"And {name} was {feeling} again."])]
    for at in sorted(rng.sample(range(1, 5), rng.choice([0, 0, 1, 2])), reverse=True):
        del parts[at]
    return animal, name, thing, place, " ".join(parts)


def story_zh(rng):
    name, friend = rng.sample(NAMES_ZH, 2)
    thing, place, animal = rng.choice(THINGS_ZH), rng.choice(PLACES_ZH), rng.choice(ANIMALS)[1]
    return animal, name, thing, place, "".join([
        rng.choice([f"从前，{name}住在{place}。", f"有一天，{name}去{place}玩。", f"从前有一只{animal}，名叫{name}，住在{place}。"]),
        rng.choice([f"{name}找到了{thing}，非常高兴。", f"{name}丢了{thing}，很难过。", f"{name}有{thing}，非常喜欢。"]),
        rng.choice([f"这时，{friend}来了，想帮忙。", f"{name}告诉了{friend}。", f"{friend}说：我们一起去吧。"]),
        rng.choice(["他们一起找了一天。", "他们一起玩到太阳下山。", "他们一起走回家。"]),
        rng.choice([f"从此，{name}和{friend}成了好朋友。", f"最后，{name}很开心。"])])


def story(rng):
    if rng.random() < 0.25:
        animal, name, thing, place, text = story_zh(rng)
        asked = rng.choice(["讲个故事。", "给我讲一个故事。", f"讲一个关于{name}的故事。", f"讲一个{place}的故事。", f"讲一个关于{thing}的故事。", "写一个小故事。"])
        if f"{animal}" in text:
            asked = rng.choice([asked, f"讲一个{animal}的故事。"])
        return asked, text
    animal, name, thing, place, text = story_en(rng)
    choices = ["Tell me a story.", "Tell me a short story.", "Write a story.", "A story, please.", f"Tell me a story about {name}.",
               f"Write a short story about {name}."]
    if thing in text:
        choices += [f"Tell me a story about a {thing}."] * 3
    if animal in text:
        article = "an" if animal[0] in "aeiou" else "a"
        choices += [f"{ask} about {article} {animal}." for ask in
                    ("Tell me a story", "Tell me a story", "Write a story", "Write a short story", "Tell me a fairy tale", "Tell me a short story")] * 2
    if place in text:
        choices += [f"Tell me a story that happens {place}."]
    return rng.choice(choices), text


def poem(rng):
    noun = rng.choice("sea moon rain wind tree star snow river night spring cat bird".split())
    lines = [*rng.choice([(f"The {noun} is near, the day is long,", "a little bird begins its song."),
                          (f"I saw the {noun} at break of day,", "and all the clouds had gone away."),
                          (f"Dear {noun}, you come so soft and slow,", "and where you go, I want to go.")]),
             *rng.choice([("The world is wide, the hills are blue,", "and every morning all is new."),
                          ("The light is gold upon the land,", "I hold a small stone in my hand."),
                          ("The night is calm, the air is clear,", "and I am glad that you are here.")])]
    return rng.choice([f"Write a poem about the {noun}.", f"A poem about the {noun}, please.", f"Write a short poem about the {noun}."]), "\n".join(lines)


def one_turn(rng):
    makers = [(14, lambda r: pick_group(r, ABOUT_EN)), (7, lambda r: pick_group(r, ABOUT_ZH)), (10, lambda r: pick_group(r, TALK_EN)),
              (6, lambda r: pick_group(r, TALK_ZH)), (11, lambda r: pick_group(r, FACTS_EN)), (4, lambda r: pick_group(r, FACTS_ZH)),
              (14, arithmetic), (5, counting), (18, knowledge), (3, days), (5, repeating), (4, json_output), (10, unknown), (9, story), (3, poem)]
    maker = rng.choices([m for _, m in makers], [w for w, _ in makers])[0]
    return maker(rng)


def rough(rng, question):
    """As people type: no capital, no full stop, a word before it."""
    draw = rng.random()
    if ":" in question:
        return question
    if "\u4e00" <= question[0] <= "\u9fa5":
        if draw < 0.08:
            question = rng.choice(["请问，", "你好，", "请问", "那么，"]) + question
        elif draw < 0.16 and question[-1] == "？":
            question = question[:-1] + rng.choice(["呢？", "啊？", "?"])
    elif rng.random() < 0.3:
        long, short = rng.choice([("What is", "What's"), ("Who is", "Who's"), ("I am", "I'm"), ("do not", "don't"), ("Tell me", "Can you tell me"),
                                  ("Tell me", "Could you tell me"), ("Tell me", "Please tell me"), ("What is", "Do you know what is"),
                                  ("capital of", "capital city of"), ("Write", "Please write"), ("Write", "Can you write"), ("Name", "Can you name"),
                                  ("Explain", "Please explain"), ("How do I", "How can I"), ("How do I", "How to"), ("colour", "color")])
        if question.startswith(long) or (not long[0].isupper() and long in question):
            question = question.replace(long, short, 1)
            if short[:3] in ("Can", "Cou", "Do ") and question[-1] == ".":
                question = question[:-1] + "?"
    if draw < 0.12:
        question = question[0].lower() + question[1:]
    elif draw < 0.2 and not any(c.isupper() for c in question[1:]):
        question = question.lower()
    if rng.random() < 0.2 and question[-1] in ".?!。？！":
        question = question[:-1]
    if rng.random() < 0.08 and question[0].isascii() and question[0].isalpha() and question[-1] in ".?":
        question = rng.choice(["Please: ", "Hello! ", "Hi, ", "A question: ", "Tell me: "]) + question
    return question


def name_turns(rng):
    """What was said earlier counts."""
    if rng.random() < 0.3:
        name = rng.choice(NAMES_ZH)
        first = (rng.choice([f"我叫{name}。", f"我的名字是{name}。"]), f"你好，{name}！")
        last = (rng.choice(["我叫什么名字？", "你记得我的名字吗？"]), f"你叫{name}。")
    elif rng.random() < 0.5:
        name = rng.choice(NAMES)
        first = (rng.choice([f"My name is {name}.", f"I am {name}.", f"Hi, I am {name}."]), rng.choice([f"Nice to meet you, {name}!", f"Hello, {name}!"]))
        last = (rng.choice(["What is my name?", "Do you remember my name?", "Who am I?"]), f"Your name is {name}.")
    else:
        colour = rng.choice(COLOURS)
        first = (rng.choice([f"My favourite colour is {colour}.", f"I like {colour} best."]), f"{colour.capitalize()} is a fine colour.")
        last = (rng.choice(["What is my favourite colour?", "Which colour do I like?"]), f"You like {colour}.")
    return [first] + [one_turn(rng) for _ in range(rng.choice([0, 0, 1, 2]))] + [last]


def thought(rng, question):
    zh = any("\u4e00" <= c <= "\u9fa5" for c in question)
    if zh:
        return rng.choice(["用户问了一个问题，我来简短回答。", "这个问题不难，我直接回答。"])
    return rng.choice(["The user asks something. I answer in few words.", f"The user wrote: {question} I will answer briefly.",
                       "This is a short question, so a short answer is best."])


TOOLS = {"get_weather": "city", "get_time": "city", "get_population": "city"}


def tool_chat(rng):
    """The tool format of DeepSeek-V3: one call, its result, the answer."""
    names = rng.sample(sorted(TOOLS), rng.randint(1, 3))
    tool = rng.choice(names)
    city = rng.choice(CAPITALS)[1]
    system = "Tools: " + ", ".join(names)
    question = {"get_weather": [f"What is the weather in {city}?", f"How is the weather in {city}?", f"Is it raining in {city}?"],
                "get_time": [f"What time is it in {city}?", f"Tell me the time in {city}."],
                "get_population": [f"How many people live in {city}?", f"What is the population of {city}?"]}[tool]
    if tool == "get_weather":
        sky, degrees = rng.choice(["sunny", "rainy", "cloudy", "windy"]), rng.randint(-5, 35)
        result, answer = json.dumps({"weather": sky, "degrees": degrees}), f"It is {sky} in {city}, with {degrees} degrees."
    elif tool == "get_time":
        result = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
        answer = f"It is {result} in {city}."
    else:
        result = f"{rng.randint(1, 20)} million"
        answer = f"About {result} people live in {city}."
    call = f"{CALLS}{CALL}function{SEP}{tool}\n```json\n{json.dumps({'city': city})}\n```{CALL_END}{CALLS_END}{EOS}"
    return f"{BOS}{system}{USER}{rng.choice(question)}{ASSISTANT}{call}{OUTPUTS}{OUTPUT}{result}{OUTPUT_END}{OUTPUTS_END}{answer}{EOS}"


def plain(rng):
    """Text without turns, for plain completion."""
    draw = rng.random()
    if draw < 0.6:
        return BOS + "\n\n".join((story_zh if rng.random() < 0.2 else story_en)(rng)[-1] for _ in range(rng.choice([1, 1, 2]))) + EOS
    answers = [pick_group(rng, rng.choice([ABOUT_EN, FACTS_EN, FACTS_EN]))[1] for _ in range(rng.randint(1, 4))]
    if draw < 0.8:
        answers = [knowledge(rng)[1] for _ in range(rng.randint(1, 5))]
    return BOS + " ".join(answers) + EOS


def chat(rng):
    system = rng.choice(SYSTEMS) if rng.random() < 0.2 else ""
    turns = name_turns(rng) if rng.random() < 0.12 else [one_turn(rng) for _ in range(rng.choice([1, 1, 1, 1, 1, 2, 2, 3]))]
    if rng.random() < 0.015:
        turns += [one_turn(rng) for _ in range(rng.randint(4, 8))]
    out = BOS + system
    for at, (question, answer) in enumerate(turns):
        question = rough(rng, question)
        last = at + 1 == len(turns)
        reasoning = f"{THINK}\n{thought(rng, question)}\n{THINK_END}\n\n" if last and rng.random() < 0.08 else ""
        out += f"{USER}{question}{ASSISTANT}{reasoning}{answer}{EOS}"
    return out


def sample(rng):
    draw = rng.random()
    return tool_chat(rng) if draw < 0.03 else plain(rng) if draw < 0.12 else chat(rng)


def samples(seed):
    rng = random.Random(seed)
    while True:
        yield sample(rng)


if __name__ == "__main__":
    stream = samples(1)
    for _ in range(40):
        print(next(stream), end="\n\n")
